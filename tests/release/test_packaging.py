# SPDX-License-Identifier: Apache-2.0
"""The folder for the Model Zoo: what is in it, and every check of the zoo's `verify_bundle.py -m full`, offline."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out

from scripts.release.packaging import BUNDLE_NAME, LARGEST, package

ROOT = Path(__file__).parents[2]
SCHEMA = "meta_schema_20240725.json"

# As the zoo's own helper of this name: merge configs and overrides into a file, and run that by torchrun.
ZOO_UTILS = """
import subprocess
from monai.bundle import ConfigParser

def export_config_and_run_mgpu_cmd(config_file, meta_file, logging_file, override_dict, output_path, ngpu=2):
    parser = ConfigParser()
    parser.read_config(config_file)
    parser.update(pairs=override_dict)
    ConfigParser.export_config_file(parser.config, output_path, indent=4)
    launcher = ["torchrun", "--standalone", "--nnodes=1", f"--nproc_per_node={ngpu}", "-m", "monai.bundle", "run"]
    files = ["--config_file", output_path, "--logging_file", logging_file, "--meta_file", meta_file]
    subprocess.check_call([*launcher, *files])
"""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the zoo that has the bundle, as `make bundle` leaves it."""
    folder = tmp_path_factory.mktemp("model-zoo") / "zoo"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        package(str(folder))
    return folder


@pytest.fixture(scope="module")
def packaged(zoo: Path) -> Path:
    return zoo / "models" / BUNDLE_NAME


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_the_folder_has_what_git_knows_and_nothing_else(zoo: Path, packaged: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    parts = {
        name for name in listed if name == "LICENSE" or name.startswith(("configs/", "docs/", "models/", "scripts/"))
    }
    assert files_in(packaged) == parts
    assert {path.name for path in packaged.iterdir()} == {"LICENSE", "configs", "docs", "models", "scripts"}
    tests = {f"ci/unit_tests/test_{BUNDLE_NAME}{end}.py" for end in ("", "_dist")}
    assert {name for name in files_in(zoo) if not name.startswith("models/")} == tests


def test_no_links_no_large_files_no_personal_paths(packaged: Path) -> None:
    for path in packaged.rglob("*"):
        assert not path.is_symlink()
        if path.is_file():
            assert path.stat().st_size <= LARGEST
            assert not any(word in path.read_bytes() for word in (b"/home/", b"/root/", b"/tmp/", str(ROOT).encode()))


def test_links_of_the_model_card_lead_to_files(packaged: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (packaged / "docs" / "README.md").read_text())
    own = [link for link in links if BUNDLE_NAME in link]
    assert any(link.endswith(".png") for link in own)
    for link in links:
        assert link.startswith("https://")
    for link in own:
        assert (packaged / link.split(f"{BUNDLE_NAME}/")[1]).is_file()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, refused: Callable) -> None:
    (tmp_path / "mine.txt").touch()
    with refused(tmp_path, "already"):
        package(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_outside_a_checkout_nothing_is_written(
    tmp_path: Path, refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with refused("git"):
        package("zoo")
    assert list(tmp_path.iterdir()) == []


# --- verify_bundle.py, step by step -----------------------------------------------------------------------------------


def test_necessary_and_preferred_files_are_there(packaged: Path) -> None:
    for name in ("LICENSE", "configs/metadata.json", "configs/inference.json", "models/model.pt"):
        assert (packaged / name).is_file()


def test_version_is_in_the_changelog(packaged: Path) -> None:
    metadata = json.loads((packaged / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]


def test_metadata_is_verified_against_the_schema(packaged: Path, shared_data: Path, tmp_path: Path) -> None:
    copy = shared_data.parent / "zoo" / SCHEMA
    if not copy.is_file():
        pytest.skip(f"no copy of {SCHEMA} in shared/zoo")
    shutil.copyfile(copy, tmp_path / "schema.json")
    verify_metadata(meta_file=str(packaged / "configs" / "metadata.json"), filepath=tmp_path / "schema.json")


def test_inference_has_all_properties(
    packaged: Path, odd_dataset: Path, tmp_path: Path, unchanged_process: Callable
) -> None:
    workflow = ConfigWorkflow(
        workflow_type="inference",
        bundle_root=str(packaged),
        config_file=str(packaged / "configs" / "inference.json"),
        logging_file=False,
        meta_file=str(packaged / "configs" / "metadata.json"),
        dataset_dir=str(odd_dataset),
        output_dir=str(tmp_path),
    )
    with unchanged_process():
        workflow.initialize()
        assert workflow.check_properties() == []


def test_network_takes_and_gives_what_the_metadata_says(packaged: Path) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(packaged / "configs" / "metadata.json"),
        config_file=str(packaged / "configs" / "inference.json"),
        bundle_root=str(packaged),
    )


def test_weights_are_exported_to_torchscript(packaged: Path, tmp_path: Path) -> None:
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(packaged / "models" / "model.pt"),
        meta_file=str(packaged / "configs" / "metadata.json"),
        config_file=str(packaged / "configs" / "inference.json"),
        bundle_root=str(packaged),
    )
    field = torch.jit.load(tmp_path / "model.ts")(torch.rand(1, 2, 32, 16, 48))
    assert field.shape == (1, 3, 32, 16, 48)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "_dist"])
def test_unit_tests_of_the_zoo_pass(zoo: Path, end: str) -> None:
    tests = zoo / "ci" / "unit_tests"
    (tests / "utils.py").write_text(ZOO_UTILS)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of torchrun
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "-v", f"test_{BUNDLE_NAME}{end}"],
        cwd=zoo,
        env={**os.environ, "PYTHONPATH": str(tests), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
