# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/api.md, as they stand, one after the other in a folder that is not the bundle's."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.api import Result

pytestmark = pytest.mark.slow  # the examples register six times

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
FACTS = {
    "labels": "[int(value) for value in np.unique(labels.dataobj)]",
    "labels_shape": "labels.shape",
    "back_shape": "back.shape",
    "series_shape": "series.shape",
    "message": "message",
    "from_sitk": "[np.abs(a - b).max() for a, b in zip(from_sitk(sitk.ReadImage('MOVING.nii.gz')), (array, affine))]",
    "there_and_back": "np.abs(starts - points).max()",
    "attributes": "[name for name in dir(result) if not name.startswith('_')]",
    "level": "logging.getLogger('scripts').level",
}
WARPS = {"warp.nii.gz", "inverse_warp.nii.gz", "affine.mat"}
RESULTS = {"moved.nii.gz", "quality.nii.gz", *WARPS, "metrics.json", "report.html"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path, random_weights: Path) -> Path:
    """A folder with what the page names: a bundle, here of a small untrained network, and scans of two people."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for part in ("configs", "scripts"):
        shutil.copytree(ROOT / part, folder / "BUNDLE" / part, ignore=shutil.ignore_patterns("__pycache__"))
    config = folder / "BUNDLE" / "configs" / "inference.json"
    content = json.loads(config.read_text())
    content["network_def"] |= {"channels": [8, 8, 8], "symmetric": False}
    config.write_text(json.dumps(content | {"network_size": [1, 1, 1]}))
    (folder / "BUNDLE" / "models").mkdir()
    for name in ("model.pt", "model_oasis.pt"):
        shutil.copy(random_weights, folder / "BUNDLE" / "models" / name)
    people = sorted(path.name for path in (small_dataset / "imagesTr").iterdir())
    scans = {"FIXED": people[0], "MOVING": people[1], "FIRST": people[2], "SECOND": people[3], "REFERENCE": people[2]}
    for name, person in scans.items():
        shutil.copy(small_dataset / "imagesTr" / person, folder / f"{name}.nii.gz")
        shutil.copy(small_dataset / "labelsTr" / person, folder / f"{name}_LABELS.nii.gz")
    moving = nib.load(folder / "MOVING.nii.gz")
    nib.save(nib.Nifti1Image(np.stack([moving.dataobj] * 2, axis=-1), moving.affine), folder / "SERIES.nii.gz")
    return folder


@pytest.fixture(scope="module")
def found(place: Path) -> dict:
    """What the names of the page's code are in the end, and what was printed."""
    shown = "".join(f"{name!r}: {expression}, " for name, expression in FACTS.items())
    code = f"{CODE}\nimport json\nprint(json.dumps({{{shown}}}, default=float))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"CXX": "none"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *printed, facts = done.stdout.splitlines()
    return {**json.loads(facts), "stdout": printed, "stderr": done.stderr}


def test_results_are_saved(found: dict, place: Path) -> None:
    for name in ("RESULT", "FIRST", "SECOND"):
        assert {path.name for path in (place / name).iterdir()} == RESULTS


def test_only_what_the_examples_print_is_printed(found: dict) -> None:
    verdict, figures = found["stdout"]
    assert verdict.split()[0] in ("pass", "look", "fail")
    assert all(float(figure) >= 0 for figure in figures.split())
    assert found["stderr"] == ""


def test_labels_go_both_ways(found: dict, place: Path) -> None:
    moving, fixed = (nib.load(place / f"{name}_LABELS.nii.gz") for name in ("MOVING", "FIXED"))
    assert found["labels"] == np.unique(moving.dataobj).tolist() and len(found["labels"]) > 2
    assert (tuple(found["labels_shape"]), tuple(found["back_shape"])) == (fixed.shape, moving.shape)
    assert np.unique(nib.load(place / "MOVED_LABELS.nii.gz").dataobj).tolist() == found["labels"]
    assert tuple(found["series_shape"]) == (*nib.load(place / "REFERENCE.nii.gz").shape, 2)


def test_the_inverse_leads_back_to_the_points(found: dict) -> None:
    assert found["there_and_back"] < 0.5


def test_an_image_of_simpleitk_is_that_of_nibabel(found: dict) -> None:
    assert found["from_sitk"] == pytest.approx([0, 0], abs=1e-5)


def test_the_error_names_the_file(found: dict) -> None:
    assert found["message"].startswith("MISSING.nii.gz: no such file")
    assert found["level"] == 40


def test_the_table_has_what_a_result_has(found: dict) -> None:
    table = TEXT.partition("| of a result | what |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)", row.split("|")[1] if row else "")}
    assert named == {name for name in dir(Result) if not name.startswith("_")}
    assert set(found["attributes"]) - named == {"registration"}
