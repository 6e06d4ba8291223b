# SPDX-License-Identifier: Apache-2.0
"""Evaluation against a plain-numpy computation of Learn2Reg's formulas on the dataset's own files."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.networks import MSFBNet
from tests.workflows.learn2reg import expected_rows

COLUMNS = {
    *("pair", "dice_before", "dice", "hd95_before", "hd95", "tre_before", "tre"),
    *("ndv_percent", "folding_percent", "sdlogj"),
}
# Images scaled by other code differ by rounding errors, of which bfloat16 would make hundredths of a voxel.
FLOAT32 = {"bf16": False}


def read_json(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module", params=["cube", "odd size"])
def evaluated(
    request: pytest.FixtureRequest,
    run_bundle: Callable,
    dataset: Path,
    odd_dataset: Path,
    random_weights: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """A dataset and the folder with the evaluation of a network that moves things on it."""
    folder, data = tmp_path_factory.mktemp("evaluation"), dataset if request.param == "cube" else odd_dataset
    run_bundle("train", "evaluate", dataset_dir=data, output_dir=folder, weights=random_weights, **FLOAT32)
    return data, folder


def test_figures_are_those_of_plain_numpy(evaluated: tuple[Path, Path], random_network: MSFBNet) -> None:
    data, folder = evaluated
    expected, found = expected_rows(data, random_network), read_json(folder)["pairs"]
    assert len(found) == len(expected) == 2
    assert max(abs(row["dice"] - row["dice_before"]) for row in found) > 0.01
    for row, wanted in zip(found, expected, strict=True):
        assert wanted["mean_length"] > 0.5, "the field is too small to test anything"
        assert row["dice_before"] == pytest.approx(wanted["dice_before"], abs=1e-6)
        # A point half-way between two voxels may go either way, so a voxel here and there may.
        assert row["dice"] == pytest.approx(wanted["dice"], abs=2e-3)
        assert row["sdlogj"] == pytest.approx(wanted["sdlogj"], rel=2e-3)
        assert row["folding_percent"] == pytest.approx(wanted["folding_percent"], abs=0.01)


def test_dice_of_the_labels_averages_to_that_of_the_pair(evaluated: tuple[Path, Path]) -> None:
    data, folder = evaluated
    names = json.loads((data / "VIRTUAL_dataset.json").read_text())["labels"]
    per_label = json.loads((folder / "dice_per_label.json").read_text())["pairs"]
    for row, pair in zip(per_label, read_json(folder)["pairs"], strict=True):
        assert row["pair"] == pair["pair"]
        values = [row[f"{value} {name}"] for value, name in names.items() if value != "0"]
        assert np.mean([value for value in values if value is not None]) == pytest.approx(pair["dice"], abs=1e-6)


def test_landmark_distances_are_in_mm(evaluated: tuple[Path, Path], random_network: MSFBNet) -> None:
    data, folder = evaluated
    rows = zip(read_json(folder)["pairs"], expected_rows(data, random_network), strict=True)
    for row, wanted in rows:
        assert row["tre_before"] == pytest.approx(wanted["tre_before"], rel=1e-4)
        assert row["tre"] == pytest.approx(wanted["tre"], rel=1e-3)


def test_tables_hold_a_row_per_pair_with_mean_and_deviation(evaluated: tuple[Path, Path]) -> None:
    data, folder = evaluated
    content = read_json(folder)
    pairs = json.loads(next(data.glob("*.json")).read_text())["registration_val"]
    names = [[Path(pair[role]).name.removesuffix(".nii.gz") for role in ("fixed", "moving")] for pair in pairs]
    assert [row["pair"] for row in content["pairs"]] == ["_".join(name) for name in names]
    with open(folder / "metrics.csv", newline="") as file:
        *rows, mean, deviation = csv.DictReader(file)
    assert set(mean) == set(content["pairs"][0]) == COLUMNS
    assert (mean["pair"], deviation["pair"]) == ("mean", "std")
    for metric in COLUMNS - {"pair"}:
        values = [row[metric] for row in content["pairs"]]
        assert [float(row[metric]) for row in rows] == values
        assert float(mean[metric]) == content["summary"][metric]["mean"] == pytest.approx(np.mean(values))
        assert float(deviation[metric]) == content["summary"][metric]["std"] == pytest.approx(np.std(values))


def test_evaluation_leaves_nothing_but_the_tables(evaluated: tuple[Path, Path]) -> None:
    assert {path.name for path in evaluated[1].iterdir()} == {
        "metrics.csv",
        "metrics.json",
        "dice_per_label.csv",
        "dice_per_label.json",
    }


# --- what must not matter --------------------------------------------------------------------------------------------


def in_other_orientation(data: Path, target: Path) -> Path:
    """The dataset with its arrays stored left to right, and the first two axes swapped; same places in the world."""
    orientation = np.array([[1, 1], [0, -1], [2, 1]])
    for source in sorted(path for path in data.rglob("*") if path.is_file()):
        path = target / source.relative_to(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".csv":
            points = np.loadtxt(source, delimiter=",")
            image = nib.load(data / "imagesTr" / f"{source.stem}.nii.gz")
            to_old = nib.orientations.inv_ornt_aff(orientation, image.shape)
            points = nib.affines.apply_affine(np.linalg.inv(to_old), points)
            np.savetxt(path, points, delimiter=",", fmt="%.4f")
        elif source.suffix == ".gz":
            nib.save(nib.load(source).as_reoriented(orientation), path)
        else:
            path.write_bytes(source.read_bytes())
    return target


def test_orientation_of_the_files_does_not_matter(
    evaluated: tuple[Path, Path], run_bundle: Callable, random_weights: Path, tmp_path: Path
) -> None:
    data, folder = evaluated
    turned = in_other_orientation(data, tmp_path / "turned")
    assert nib.aff2axcodes(nib.load(next((turned / "imagesTr").iterdir())).affine) != ("R", "A", "S")
    options = {"output_dir": tmp_path / "out", "weights": random_weights, **FLOAT32}
    run_bundle("train", "evaluate", dataset_dir=turned, **options)
    for row, wanted in zip(read_json(tmp_path / "out")["pairs"], read_json(folder)["pairs"], strict=True):
        assert row.pop("pair") == wanted.pop("pair")
        assert row == pytest.approx(wanted, rel=1e-3, abs=1e-4)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_untrained_network_changes_nothing(
    dataset: Path, run_bundle: Callable, fresh_weights: Path, tmp_path: Path
) -> None:
    run_bundle("train", "evaluate", dataset_dir=dataset, output_dir=tmp_path, weights=fresh_weights)
    for row in read_json(tmp_path)["pairs"]:
        assert row["dice"] == row["dice_before"]
        assert row["hd95"] == row["hd95_before"]
        assert row["tre"] == pytest.approx(row["tre_before"], abs=1e-2)
        assert row["ndv_percent"] == row["folding_percent"] == 0.0


def test_missing_weights_leave_no_table(dataset: Path, run_bundle: Callable, refused: Callable, tmp_path: Path) -> None:
    with refused(tmp_path / "out" / "model.pt", "no such file", "train first"):
        run_bundle("train", "evaluate", dataset_dir=dataset, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()
