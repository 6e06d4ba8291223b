# SPDX-License-Identifier: Apache-2.0
"""Bad arguments, weights, datasets and folders: one line that names them, exit code 3, nothing half written."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.networks import MSFBNet

# --- what is to be written --------------------------------------------------------------------------------------------


def test_file_in_the_place_of_the_folder_is_refused(
    answer: Callable, images: dict[str, Path], fresh_weights: Path
) -> None:
    line = answer("inference", **images, output_dir=images["fixed"], weights=fresh_weights)
    assert str(images["fixed"]) in line and "a file, not a folder" in line


@pytest.mark.parametrize(
    "error",
    [MemoryError("Unable to allocate 9 GiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")],
    ids=["NumPy", "torch"],
)
def test_lack_of_memory_is_told_in_one_line(
    answer: Callable,
    images: dict[str, Path],
    fresh_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    monkeypatch.setattr(MSFBNet, "forward", Mock(side_effect=error))
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=fresh_weights, code=4)
    assert "not enough memory" in line
    assert list(tmp_path.rglob("out/*")) == []


def test_full_disk_is_told_in_one_line(
    answer: Callable, images: dict[str, Path], fresh_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Complete files are renamed.
    full = OSError(28, "No space left on device", "moved.nii.gz")
    monkeypatch.setattr(os, "replace", Mock(side_effect=full))
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=fresh_weights)
    assert "moved.nii.gz: cannot be written (" in line and "No space left" in line
    assert list(tmp_path.rglob("out/*")) == []


def test_poor_verdict_ends_with_5_and_leaves_the_results(
    answer: Callable, images: dict[str, Path], fresh_weights: Path, tmp_path: Path
) -> None:
    scan = nib.load(images["moving"])
    ball = sum((axis - 10) ** 2 for axis in np.ogrid[:20, :22, :19]) < 49
    noise = np.random.default_rng(0).random(scan.shape) * ball
    nib.save(nib.Nifti1Image(noise, scan.affine), images["moving"])
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=fresh_weights, code=5)
    assert line == "error: 1 of 1 registrations failed; look at their report.html"
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["verdict"] == "fail"


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [["fixed"], ["moving"], [], ["fixed", "moving", "dataset_dir"]])
def test_half_a_pair_is_refused(
    answer: Callable, images: dict[str, Path], dataset: Path, fresh_weights: Path, tmp_path: Path, given: list[str]
) -> None:
    sources = {**images, "dataset_dir": dataset}
    chosen = {name: sources[name] for name in given}
    line = answer("inference", **chosen, output_dir=tmp_path / "out", weights=fresh_weights)
    assert line == "error: give either --fixed and --moving, or --pairs, or --dataset_dir"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("volume", "q"), ("network_size", 5), ("network_spacing", 0), ("labels", "abc"), ("refine", -3)),
        *(("seed", "abc"), ("threads", 0), ("workers", -1), ("composite", "maybe"), ("bf16", "maybe"), ("section", 5)),
    ],
)
def test_option_of_a_registration_that_makes_no_sense_is_named(
    answer: Callable, images: dict[str, Path], fresh_weights: Path, tmp_path: Path, option: str, value: object
) -> None:
    given = {**images, "output_dir": tmp_path / "out", "weights": fresh_weights, option: value}
    assert answer("inference", **given).startswith(f"error: --{option} {value}: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("learning_rate", "abc"), ("stages", [{"epochs": 1}]), ("val_interval", 0), ("pairs_per_epoch", 0)),
        *(("max_epochs", -1), ("labels", "abc"), ("use_labels", "maybe"), ("bf16", "maybe"), ("resume", "maybe")),
    ],
)
def test_option_of_a_training_that_makes_no_sense_is_named(
    answer: Callable, dataset: Path, tmp_path: Path, option: str, value: object
) -> None:
    line = answer("train", dataset_dir=dataset, output_dir=tmp_path / "out", **{option: value})
    assert line.startswith(f"error: --{option} {value}: want ")
    assert not (tmp_path / "out").exists()


def test_options_of_an_overlay_and_of_an_evaluation_are_looked_at(
    answer: Callable, dataset: Path, tmp_path: Path
) -> None:
    given = {"dataset_dir": dataset, "output_dir": tmp_path / "out"}
    assert "--labels_per_step 0: want " in answer("train", "training/labels.yaml", **given, labels_per_step=0)
    assert "--labels 5: want " in answer("train", "evaluate", **given, labels=5)
    assert not (tmp_path / "out").exists()


# --- weights ----------------------------------------------------------------------------------------------------------


def test_missing_weights_are_named(answer: Callable, images: dict[str, Path], tmp_path: Path) -> None:
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=tmp_path / "none.pt")
    assert str(tmp_path / "none.pt") in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"channels": [8, 8, 16]}, "other shape"),
        ({"channels": [8, 8]}, "missing"),
        ({"channels": [8, 8, 8, 8]}, "unknown"),
        ({"channels": [8, 8, 8], "fusion": "concat"}, "missing"),
    ],
    ids=str,
)
def test_weights_of_another_network_say_what_differs(
    answer: Callable, images: dict[str, Path], tmp_path: Path, options: dict, difference: str
) -> None:
    torch.save(MSFBNet(**options).state_dict(), tmp_path / "other.pt")
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=tmp_path / "other.pt")
    assert str(tmp_path / "other.pt") in line
    assert "does not fit the network" in line
    assert difference in line
    assert not (tmp_path / "out").exists()


# --- datasets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("configs", [["train"], ["inference"]], ids=lambda names: names[0])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no *dataset*.json"),
        ("{", "not a JSON file"),
        ("[]", "not a dataset file"),
        ('{"training": [], "registration_val": []}', ""),
        ('{"training": ["./a.nii.gz", "./b.nii.gz"], "registration_val": [{"fixed": "a", "moving": "b"}]}', "no such"),
    ],
    ids=["none", "broken", "list", "no pairs", "missing files"],
)
def test_bad_dataset_is_named_in_one_line(
    answer: Callable, fresh_weights: Path, tmp_path: Path, configs: list, content: str | None, complaint: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if content is not None:
        (data / "dataset.json").write_text(content)
    weights = {"weights": fresh_weights} if configs == ["inference"] else {}
    line = answer(*configs, dataset_dir=data, output_dir=tmp_path / "out", **weights)
    assert str(data) in line
    assert complaint in line
    left = [path for path in (tmp_path / "out").rglob("*") if "events.out.tfevents" not in path.name]
    assert left == []


@pytest.mark.parametrize("configs", [["train"], ["train", "evaluate"]], ids=" ".join)
def test_validation_pairs_on_two_grids_are_refused_before_the_first_step(
    answer: Callable, dataset: Path, odd_dataset: Path, fresh_weights: Path, tmp_path: Path, configs: list[str]
) -> None:
    data = shutil.copytree(dataset, tmp_path / "data")
    pair = json.loads((data / "VIRTUAL_dataset.json").read_text())["registration_val"][-1]
    other = sorted((odd_dataset / "imagesTr").iterdir())[0]  # of 30 x 34 x 29 voxels
    shutil.copy(other, data / pair["moving"])
    places = {"dataset_dir": data, "output_dir": tmp_path / "out", "weights": fresh_weights}
    line = answer(*configs, **places, cache_rate=0.1, max_epochs=1, pairs_per_epoch=1)
    assert "scans on different grids" in line and Path(pair["moving"]).name in line
    left = [path.name for path in (tmp_path / "out").rglob("*") if "events.out.tfevents" not in path.name]
    assert left == [] or left == ["runs"]


def test_one_bad_scan_of_a_dataset_is_named(answer: Callable, odd_dataset: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "imagesTr").mkdir(parents=True)
    content = json.loads((odd_dataset / "VIRTUAL_dataset.json").read_text())
    content["training"] = [{"image": scan["image"]} for scan in content["training"]]
    (data / "dataset.json").write_text(json.dumps(content))
    for image in sorted((odd_dataset / "imagesTr").iterdir()):
        (data / "imagesTr" / image.name).write_bytes(image.read_bytes())
    bad = data / "imagesTr" / "VIRTUAL_0002_0000.nii.gz"
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    line = answer("train", dataset_dir=data, output_dir=tmp_path / "out", max_epochs=1, pairs_per_epoch=1)
    assert str(bad) in line
    assert "cut short" in line
