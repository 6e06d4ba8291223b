# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/bundle.md, as they stand, in a folder that is not the bundle's; and its tables of paths."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from fire.parser import DefaultParseValue
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from scripts.networks import MSFBNet
from scripts.release.packaging import BUNDLE_NAME, package

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "bundle.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
START, LOAD, REGISTER, TRAIN, AS_TEXT = (code for language, code in BLOCKS if language == "python")
(COMMAND,) = (code for language, code in BLOCKS if language == "bash")

CHANNELS = [8, 8, 8]
# Written into the bundle's configs, so that the examples need no other words than those of the page.
SMALL = {"network_def#channels": CHANNELS, "device": "$torch.device('cpu')", "bf16": False}
SMALLER = {
    "inference": {"network_size": [1, 1, 1], "network_spacing": 5.0, "init": "none"},
    "train": {"max_epochs": 1, "pairs_per_epoch": 1, "val_interval": 1},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    """A folder with what the page says is there: a bundle, here of a small untrained network, a dataset, two scans."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        package(str(folder / "ZOO"))
    bundle = folder / "ZOO" / "models" / BUNDLE_NAME
    for name, sizes in SMALLER.items():
        parser = ConfigParser(json.loads((bundle / "configs" / f"{name}.json").read_text()))
        parser.update({**SMALL, **sizes})
        (bundle / "configs" / f"{name}.json").write_text(json.dumps(parser.config))
    torch.save(MSFBNet(CHANNELS).state_dict(), bundle / "models" / "model.pt")
    shutil.copytree(dataset, folder / "DATASET")
    for name, scan in zip(("FIXED", "MOVING"), sorted((dataset / "imagesTr").iterdir()), strict=False):
        shutil.copyfile(scan, folder / f"{name}.nii.gz")
    return folder


def run(*words: str, place: Path) -> str:
    """What a process prints that knows the bundle only by what the page says."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Nothing is compiled for a single step, and `python` is this one.
    environment |= {"CXX": "none", "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])}
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def outcome(place: Path) -> Callable[..., dict]:
    """`outcome(code, key="expression")`: values of expressions after the page's first lines and `code`."""

    def run_python(code: str, **expressions: str) -> dict:
        shown = "".join(f"{name!r}: {expression}, " for name, expression in expressions.items())
        printed = run(
            sys.executable, "-c", f"{START}\n{code}\nimport json\nprint(json.dumps({{{shown}}}))", place=place
        )
        return json.loads(printed.splitlines()[-1])

    return run_python


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


WARPS = {"warp.nii.gz", "inverse_warp.nii.gz", "affine.mat"}
RESULTS = {"moved.nii.gz", "quality.nii.gz", *WARPS, "metrics.json", "report.html"}


@pytest.mark.slow
def test_the_network_is_loaded_with_its_weights(outcome: Callable, place: Path) -> None:
    before = files(place)
    found = outcome(
        LOAD,
        shape="list(field.shape)",
        training="network.training",
        weights="{name: value.double().sum().item() for name, value in network.state_dict().items()}",
    )
    assert found["shape"] == [1, 3, 32, 48, 32]
    assert not found["training"]
    weights = torch.load(place / "ZOO" / "models" / BUNDLE_NAME / "models" / "model.pt", weights_only=True)
    assert found["weights"] == pytest.approx({name: value.double().sum().item() for name, value in weights.items()})
    assert files(place) == before


@pytest.mark.slow
def test_a_pair_is_registered(outcome: Callable, place: Path) -> None:
    found = outcome(REGISTER, missing="workflow.check_properties()")
    assert found["missing"] == []
    assert files(place / "RESULT") == RESULTS
    assert "output" not in files(place)


@pytest.mark.slow
def test_training_is_initialized_and_run(outcome: Callable, place: Path) -> None:
    initialized, _, after = TRAIN.partition("training.run()\n")
    code = f"{initialized}epochs, steps = training.trainer.state.max_epochs, training.trainer.state.iteration\n"
    found = outcome(
        f"{code}\ntraining.run()\n{after}",
        missing="training.check_properties()",
        before="[epochs, steps]",
        after="training.trainer.state.iteration",
    )
    assert found == {"missing": [], "before": [1, 0], "after": 1}
    assert {"last.pt", "model.pt", "history.csv"} <= files(place / "TRAINING")


@pytest.mark.slow
def test_the_command_line_registers_into_a_folder_named_like_a_number(place: Path) -> None:
    run("bash", "-ec", COMMAND, place=place)
    assert files(place / "20240131") == RESULTS


@pytest.mark.slow
def test_a_pair_is_registered_from_a_folder_with_a_number_sign(outcome: Callable, place: Path) -> None:
    scans = place / "sub#1"
    scans.mkdir()
    code = f"{AS_TEXT}\n{REGISTER}"
    for name in ("FIXED", "MOVING"):
        shutil.copyfile(place / f"{name}.nii.gz", scans / f"{name}.nii.gz")
        code = code.replace(f'"{name}.nii.gz"', f'as_text("sub#1/{name}.nii.gz")')
    found = outcome(code.replace('"RESULT"', 'as_text("sub#1/RESULT")'), fixed="workflow.parser['fixed']")
    assert found["fixed"].startswith("$")
    assert files(scans / "RESULT") == RESULTS


# --- paths ------------------------------------------------------------------------------------------------------------


def rows(after: str) -> Iterator[tuple[str, str, str]]:
    """Code spans of the table after a heading or sentence: path, the first one of what becomes of it, and instead."""
    table = TEXT.partition(after)[2].partition("| --- | --- | --- |\n")[2].partition("\n\n")[0]
    for line in table.splitlines():
        path, made, instead = (cell.strip() for cell in line.strip("| ").split(" | "))
        yield path.strip("`"), made, instead.strip("`")


def parsed(value: object) -> object:
    return ConfigParser({"path": value, "moving": "M.nii.gz"}).get_parsed_content("path")


def typed(word: str) -> object:
    return parsed(DefaultParseValue(word))


BY_MONAI = list(rows("## Paths that MONAI does not take"))
BY_FIRE = list(rows("first reads its values with Fire"))


def test_there_are_rows_of_all_kinds() -> None:
    assert [path[0] for path, _, _ in BY_MONAI] == ["@", "$", "%", "s"]
    assert len(BY_FIRE) == 7


@pytest.mark.parametrize(("path", "made", "instead"), BY_MONAI)
def test_path_is_changed_by_the_config_and_what_is_written_instead_is_not(path: str, made: str, instead: str) -> None:
    if "error" in made and "without an error" not in made and path != "@moving":
        with pytest.raises((KeyError, RuntimeError)):
            parsed(path)
    else:
        assert parsed(path) == ("M.nii.gz" if path == "@moving" else re.findall("`(.*?)`", made)[0])
    for given_path in (parsed(instead), typed(instead)):
        assert Path(str(given_path)) == Path(path)


def test_reference_to_no_parameter_is_an_error() -> None:
    with pytest.raises(ValueError, match="not defined"):
        parsed("@data")


@pytest.mark.parametrize(("path", "made", "instead"), BY_FIRE)
def test_path_is_changed_by_fire_and_what_is_written_instead_is_not(path: str, made: str, instead: str) -> None:
    value = typed(path)
    shown = re.findall("`(.*?)`", made)[0]
    assert shown == (value if isinstance(value, str) else repr(value))
    assert made.startswith("the number") == (isinstance(value, int | float) and not isinstance(value, bool))
    assert typed(instead) in (path, f"./{path}")


@given(st.text(alphabet=st.one_of(st.sampled_from("@#$%:'\"\\/ .a1"), st.characters()), min_size=1))
def test_any_path_made_safe_is_taken_as_it_is(path: str) -> None:
    names: dict = {"Path": Path}
    exec(AS_TEXT, names)
    assert parsed(names["as_text"](path)) == path


@pytest.mark.parametrize("path", ["/data/@moving", "/data/$x", "/data/%20", "/20240131", "/a,b", "./@moving", "./[a]"])
def test_absolute_paths_and_those_with_a_dot_are_taken_as_they_are(path: str) -> None:
    assert parsed(path) == typed(path) == path
