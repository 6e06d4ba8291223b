# SPDX-License-Identifier: Apache-2.0
"""Real brains: the figure that everybody who has the data finds for the affine start."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.datasets.learn2reg import label_names, validation_pairs
from scripts.datasets.loading import load_label
from scripts.metrics import dice_per_label
from tests.fixtures.bundle import KEEP

NOT_ANATOMY = [42, 43, 63, 64]
AFFINE_DICE = 0.406  # data/README.md, 10 pairs, 134 labels


@pytest.fixture(scope="module")
def oasis(shared_data: Path) -> Path:
    folder = shared_data / "oasis35"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


@pytest.fixture(scope="module")
def label_of() -> Callable[[str], object]:
    """The project's own reading of a label map, once per person."""
    cache: dict[str, object] = {}

    def read(path: str) -> object:
        if path not in cache:
            cache[path] = load_label(path).as_tensor().byte()
        return cache[path]

    return read


def numpy_dice(fixed: np.ndarray, moving: np.ndarray, labels: list[int]) -> float:
    counts = [np.bincount(array.ravel(), minlength=256)[labels] for array in (fixed, moving, fixed[fixed == moving])]
    present = (counts[0] > 0) & (counts[1] > 0)
    return float((2 * counts[2][present] / (counts[0] + counts[1])[present]).mean())


def test_dataset_names_134_labels_and_ten_pairs(oasis: Path) -> None:
    labels = label_names(oasis)
    assert len(labels) == 134
    assert not set(NOT_ANATOMY) & set(labels)
    pairs = validation_pairs(oasis)
    assert len(pairs) == 10
    assert all("label" in scan for pair in pairs for scan in pair.values())


def test_dice_at_the_affine_start_is_that_of_plain_numpy(oasis: Path, label_of: Callable) -> None:
    content = json.loads(next(oasis.glob("*dataset*.json")).read_text())
    labels = [int(value) for value in content["labels"] if int(value) not in [0, *NOT_ANATOMY]]
    pairs = zip(validation_pairs(oasis)[:3], content["registration_val"][:3], strict=True)
    for pair, listed in pairs:
        fixed, moving = (label_of(pair[role]["label"]).int() for role in ("fixed", "moving"))
        ours = dice_per_label(fixed, moving, labels, moving).nanmean().item()
        files = (oasis / listed[role].replace("imagesTr", "labelsTr") for role in ("fixed", "moving"))
        assert ours == pytest.approx(numpy_dice(*(np.asarray(nib.load(file).dataobj) for file in files), labels), 1e-5)


@pytest.mark.slow
def test_mean_dice_at_the_affine_start(oasis: Path, label_of: Callable) -> None:
    labels, values = list(label_names(oasis)), []
    for pair in validation_pairs(oasis):
        fixed, moving = (label_of(pair[role]["label"]).int() for role in ("fixed", "moving"))
        values.append(dice_per_label(fixed, moving, labels, moving).nanmean().item())
    assert np.mean(values) == pytest.approx(AFFINE_DICE, abs=0.002)


@pytest.mark.slow
def test_raw_scans_are_registered_as_well_as_aligned_ones(
    oasis: Path, shared_data: Path, run_bundle: Callable, tmp_path: Path
) -> None:
    """docs/results.md has all pairs, and those of the other weights."""
    raw = shared_data / "raw"
    run_bundle(
        "inference",
        **{role: raw / f"{name}_T1.nii.gz" for role, name in (("fixed", 1003), ("moving", 1010))},
        **{f"{role}_label": raw / f"{name}_labels.nii.gz" for role, name in (("fixed", 1003), ("moving", 1010))},
        labels=list(label_names(oasis)),
        output_dir=tmp_path / "out",
        overrides=dict.fromkeys(("network_def#channels", "network_size"), KEEP),
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["dice_before"] > 0.40
    assert metrics["dice"] > 0.60 - 0.01  # aligned: 0.60
    assert metrics["foreground_ndv_percent"] < 0.005
    assert metrics["verdict"] == "pass"
