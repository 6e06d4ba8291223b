# SPDX-License-Identifier: Apache-2.0
"""The rules that hold the project together: what imports what, what is never called, what the bundle's frame says."""

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SOURCE_ENDINGS = {".py", ".cpp", ".h", ".js", ".css"}
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))
SOURCES = sorted(
    path for room in ("scripts", "tests", "docs") for path in (ROOT / room).rglob("*") if path.suffix in SOURCE_ENDINGS
)
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*") if path.suffix in {".json", ".yaml", ".yml"})

# A room may import itself and the rooms below it; `__main__` may import every room, and no room may import it.
FLOORS = (
    {"conventions", "environment", "signals"},
    {"bundle_run", "kernels", "runtime"},
    {"spatial"},
    {"losses"},
    {"networks", "metrics", "geometry"},
    {"io"},
    {"datasets"},
    {"synthesis"},
    {"report"},
    {"training", "registration"},
    {"evaluation", "bids"},
    {"release", "studies"},
    {"api", "command_line", "demo"},
    {"development"},
    {"__main__"},
)
BELOW = {room: set().union(*FLOORS[:floor]) for floor, rooms in enumerate(FLOORS) for room in rooms}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "scripts").with_suffix("").parts[0]


def imported_modules(source: str, package: list[str]) -> Iterator[str]:
    """Full dotted names that `source`, a module inside `package`, imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # One dot is the package itself, each further dot its parent.
            start = package[: len(package) - node.level + 1] if node.level else []
            base = [*start, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def rooms_imported(source: str, package: list[str]) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(source, package) if name.startswith("scripts.")}


def forbidden_calls(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            yield f"line {node.lineno}: {call}() binds the code to one kind of device; use .to(device)"
        safe = any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords)
        if call == "torch.load" and not safe:
            yield f"line {node.lineno}: torch.load without weights_only=True runs what the file says"


def strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def read_metadata() -> dict:
    return json.loads((ROOT / "configs" / "metadata.json").read_text())


def read_pins(file: str = "constraints.txt") -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    return dict(re.match(r"([\w-]+)==([\w.]+)", line).groups() for line in lines if line and line[0] != "#")


# --- the code ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("import scripts.spatial.warp", {"spatial"}),
        ("from scripts.spatial import warp", {"spatial"}),
        ("from scripts import spatial, losses", {"spatial", "losses"}),
        ("from .warp import warp", {"networks"}),
        ("from ..spatial import warp", {"spatial"}),
        ("from .. import spatial", {"spatial"}),
        ("def late():\n    from scripts.__main__ import main", {"__main__"}),
        ("import torch\nfrom monai.networks import blocks", set()),
    ],
)
def test_rooms_imported_sees_every_spelling(source: str, rooms: set[str]) -> None:
    assert rooms_imported(source, ["scripts", "networks"]) == rooms


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_arrows_between_rooms_point_one_way(path: Path) -> None:
    imported = rooms_imported(path.read_text(), list(path.relative_to(ROOT).parent.parts))
    if path == ROOT / "scripts" / "__init__.py":
        assert not imported, "importing `scripts` must not pull in every room"
        return
    room = room_of(path)
    assert room in BELOW, f"{room} is no room of DESIGN.md"
    assert imported <= BELOW[room] | {room}


@pytest.mark.parametrize("path", [path for path in SCRIPTS if room_of(path) in {"networks", "spatial"}], ids=name_of)
def test_networks_and_spatial_need_only_torch_and_monai(path: Path) -> None:
    imported = imported_modules(path.read_text(), list(path.relative_to(ROOT).parent.parts))
    outside = {name.split(".")[0] for name in imported} - sys.stdlib_module_names
    assert outside <= {"torch", "monai", "scripts"}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("net.cuda()", 1),
        ("x.to('cuda')\ntorch.cuda.is_available()", 0),
        ("torch.load(p)", 1),
        ("torch.load(p, weights_only=False)", 1),
        ("torch.load(p, weights_only=True)", 0),
    ],
)
def test_forbidden_calls_are_seen(source: str, count: int) -> None:
    assert len(list(forbidden_calls(source))) == count


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_no_forbidden_calls(path: Path) -> None:
    assert list(forbidden_calls(path.read_text())) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_module_is_at_most_350_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_source_file_begins_with_its_license(path: Path) -> None:
    assert "SPDX-License-Identifier: Apache-2.0" in path.read_text().split("\n", 1)[0]


# --- the configs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_expressions_in_configs_are_short(path: Path) -> None:
    # JSON is YAML too, so one reader serves both.
    expressions = [text for text in strings_in(yaml.safe_load(path.read_text())) if text.startswith("$")]
    assert [text for text in expressions if len(text) > 120 or "\n" in text] == []


def test_logging_conf_is_accepted_by_the_bundle_runner() -> None:
    workflows = pytest.importorskip("monai.bundle.workflows")
    check = getattr(workflows, "_reject_executable_logging_config", None)
    if check is None:
        pytest.skip("this MONAI does not check logging files")
    check(str(ROOT / "configs" / "logging.conf"))


# --- the frame --------------------------------------------------------------------------------------------------------


def test_metadata_at_the_top_is_a_link() -> None:
    link = ROOT / "metadata.json"
    assert link.is_symlink()
    assert link.readlink() == Path("configs/metadata.json")
    assert link.is_file()


def test_project_and_bundle_have_one_version() -> None:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found
    assert found[1] == read_metadata()["version"]


def test_metadata_names_the_tested_versions() -> None:
    metadata = read_metadata()
    named = {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
        **metadata["required_packages_version"],
    }
    pins = read_pins()
    assert named == {package: pins.get(package) for package in named}
    assert {"nibabel", "pytorch-ignite"} <= set(named)


def test_the_oldest_versions_are_the_lower_bounds_of_the_project() -> None:
    def numbers(versions: dict[str, str]) -> dict[str, list[int]]:
        found = {package: [int(n) for n in re.findall(r"\d+", version)] for package, version in versions.items()}
        return {package: parts + [0] * (4 - len(parts)) for package, parts in found.items()}

    dependencies = (ROOT / "pyproject.toml").read_text().partition("\ndependencies = [")[2].partition("\n]")[0]
    bounds = dict(re.findall(r'^ *"([a-z0-9-]+)>=([^"]+)"', dependencies, re.MULTILINE))
    assert len(bounds) == dependencies.count(">=")
    assert numbers(read_pins("constraints-oldest.txt")) == numbers(bounds)


def test_license_is_the_unmodified_apache_2() -> None:
    # The digest of the text as the Apache Software Foundation publishes it.
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
