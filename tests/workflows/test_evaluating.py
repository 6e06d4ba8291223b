"""Evaluation against a plain-numpy computation of Learn2Reg's formulas on the dataset's own files."""

import csv
import json
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from scripts.networks import MSFBNet

COLUMNS = {
    *("pair", "dice_before", "dice", "hd95_before", "hd95", "tre_before", "tre"),
    *("ndv_percent", "folding_percent", "sdlogj"),
}


def read_json(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module", params=["cube", "odd size"])
def evaluated(
    request: pytest.FixtureRequest,
    run_bundle: Callable,
    dataset: Path,
    odd_dataset: Path,
    lively_weights: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """A dataset and the folder with the evaluation of a network that moves things on it."""
    folder, data = tmp_path_factory.mktemp("evaluation"), dataset if request.param == "cube" else odd_dataset
    run_bundle("train", "evaluate", dataset_dir=data, output_dir=folder, weights=lively_weights)
    return data, folder


# --- the same in numpy ----------------------------------------------------------------------------------------------


def dice(fixed: np.ndarray, moving: np.ndarray, warped: np.ndarray, labels: list[int]) -> float:
    values = []
    for label in labels:
        if (fixed == label).any() and (moving == label).any():
            both = ((fixed == label) & (warped == label)).sum()
            values.append(2 * both / ((fixed == label).sum() + (warped == label).sum()))
    return float(np.mean(values))


def tre(field: np.ndarray, fixed: np.ndarray, moving: np.ndarray, spacing: np.ndarray) -> float:
    displacement = np.stack([map_coordinates(u, fixed.T, order=1, mode="nearest") for u in field], axis=1)
    return float(np.linalg.norm((fixed + displacement - moving) * spacing, axis=1).mean())


def jacobian_determinant(field: np.ndarray) -> np.ndarray:
    gradient = np.stack([np.stack(np.gradient(u)) for u in field])  # [component, axis]
    return np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3))


def sdlogj(field: np.ndarray) -> float:
    determinant = jacobian_determinant(field)[2:-2, 2:-2, 2:-2]
    return float(np.log((determinant + 3).clip(1e-9, 1e9)).std())


def folding_percent(field: np.ndarray, mask: np.ndarray) -> float:
    inside = (slice(1, -1),) * 3
    return 100.0 * float((jacobian_determinant(field)[inside] <= 0)[mask[inside]].mean())


def predicted_field(network: MSFBNet, fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """The network on images that are scaled and padded here, without MONAI."""
    scaled = []
    for image in (fixed, moving):
        low, high = image.min(), np.percentile(image, 99.9)
        scaled.append(np.clip((image - low) / (high - low), 0, 1))
    missing = [(0, -size % network.multiple) for size in fixed.shape]
    pair = torch.from_numpy(np.stack([np.pad(image, missing) for image in scaled])[None]).float()
    with torch.no_grad():
        x, y, z = fixed.shape
        return network(pair)[0, :, :x, :y, :z].double().numpy()


def expected_rows(data: Path, network: MSFBNet) -> list[dict[str, float]]:
    content = json.loads(next(data.glob("*.json")).read_text())
    labels = [int(value) for value in content["labels"] if value != "0"]
    rows = []
    for pair in content["registration_val"]:
        images, label_maps, points = {}, {}, {}
        for role, path in pair.items():
            file = data / path
            image = nib.load(file)
            spacing = np.array(image.header.get_zooms())
            images[role] = image.get_fdata()
            label_maps[role] = np.asarray(nib.load(data / "labelsTr" / file.name).dataobj)
            name = file.name.removesuffix(".nii.gz")
            points[role] = np.loadtxt(data / "keypointsTr" / f"{name}.csv", delimiter=",")
        field = predicted_field(network, images["fixed"], images["moving"])
        grid = np.stack(np.meshgrid(*map(np.arange, field.shape[1:]), indexing="ij"))
        warped = map_coordinates(label_maps["moving"], grid + field, order=0, mode="nearest")
        rows.append(
            {
                "dice_before": dice(*(label_maps[role] for role in ("fixed", "moving", "moving")), labels),
                "dice": dice(label_maps["fixed"], label_maps["moving"], warped, labels),
                "tre_before": tre(np.zeros_like(field), points["fixed"], points["moving"], spacing),
                "tre": tre(field, points["fixed"], points["moving"], spacing),
                "sdlogj": sdlogj(field),
                "folding_percent": 100.0
                * float(
                    (jacobian_determinant(field)[1:-1, 1:-1, 1:-1] <= 0)[
                        (images["moving"] > 0)[1:-1, 1:-1, 1:-1]
                    ].mean()
                ),
                "mean_length": float(np.linalg.norm(field, axis=0).mean()),
            }
        )
    return rows


# --- the figures ----------------------------------------------------------------------------------------------------


def test_figures_are_those_of_plain_numpy(evaluated: tuple[Path, Path], lively_network: MSFBNet) -> None:
    data, folder = evaluated
    expected, found = expected_rows(data, lively_network), read_json(folder)["pairs"]
    assert len(found) == len(expected) == 2
    for row, wanted in zip(found, expected, strict=True):
        assert wanted["mean_length"] > 0.5, "the field is too small to test anything"
        assert row["dice_before"] == pytest.approx(wanted["dice_before"], abs=1e-6)
        # A point half-way between two voxels may go either way, so a voxel here and there may.
        assert row["dice"] == pytest.approx(wanted["dice"], abs=2e-3)
        assert abs(row["dice"] - row["dice_before"]) > 0.01
        assert row["sdlogj"] == pytest.approx(wanted["sdlogj"], rel=1e-3)
        assert row["folding_percent"] == pytest.approx(wanted["folding_percent"], abs=0.01)


def test_dice_of_the_labels_averages_to_that_of_the_pair(evaluated: tuple[Path, Path]) -> None:
    data, folder = evaluated
    names = json.loads((data / "VIRTUAL_dataset.json").read_text())["labels"]
    per_label = json.loads((folder / "dice_per_label.json").read_text())["pairs"]
    for row, pair in zip(per_label, read_json(folder)["pairs"], strict=True):
        assert row["pair"] == pair["pair"]
        values = [row[f"{value} {name}"] for value, name in names.items() if value != "0"]
        assert np.mean([value for value in values if value is not None]) == pytest.approx(pair["dice"], abs=1e-6)


def test_landmark_distances_are_those_of_plain_numpy_in_mm(
    evaluated: tuple[Path, Path], lively_network: MSFBNet
) -> None:
    data, folder = evaluated
    rows = zip(read_json(folder)["pairs"], expected_rows(data, lively_network), strict=True)
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


# --- what must not matter -------------------------------------------------------------------------------------------


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
    evaluated: tuple[Path, Path], run_bundle: Callable, lively_weights: Path, tmp_path: Path
) -> None:
    data, folder = evaluated
    turned = in_other_orientation(data, tmp_path / "turned")
    assert nib.aff2axcodes(nib.load(next((turned / "imagesTr").iterdir())).affine) != ("R", "A", "S")
    run_bundle("train", "evaluate", dataset_dir=turned, output_dir=tmp_path / "out", weights=lively_weights)
    for row, wanted in zip(read_json(tmp_path / "out")["pairs"], read_json(folder)["pairs"], strict=True):
        assert row.pop("pair") == wanted.pop("pair")
        assert row == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def rewritten_json(source: Path, target: Path, change: Callable[[dict], object]) -> Path:
    """The dataset with another JSON, beside links to its folders."""
    target.mkdir()
    for folder in ("imagesTr", "labelsTr", "keypointsTr"):
        (target / folder).symlink_to(source / folder)
    content = json.loads((source / "VIRTUAL_dataset.json").read_text())
    change(content)
    (target / "VIRTUAL_dataset.json").write_text(json.dumps(content))
    return target


def dice_values(folder: Path) -> list[float]:
    return [row["dice_before"] for row in read_json(folder)["pairs"]]


def test_labels_to_score_are_an_override(
    dataset: Path, run_bundle: Callable, fresh_weights: Path, lively_network: MSFBNet, tmp_path: Path
) -> None:
    fewer = rewritten_json(dataset, tmp_path / "fewer", lambda content: [content["labels"].pop(key) for key in "123"])
    expected = [row["dice_before"] for row in expected_rows(fewer, lively_network)]
    assert expected != [pytest.approx(row["dice_before"], abs=1e-3) for row in expected_rows(dataset, lively_network)]
    options = {"weights": fresh_weights, "output_dir": tmp_path / "out"}
    run_bundle(
        "train", "evaluate", dataset_dir=dataset, labels="${value: str(value) for value in range(4, 14)}", **options
    )
    assert dice_values(tmp_path / "out") == pytest.approx(expected, abs=1e-6)
    run_bundle("train", "evaluate", dataset_dir=fewer, **options)
    assert dice_values(tmp_path / "out") == pytest.approx(expected, abs=1e-6)


def test_labels_that_the_json_does_not_name_do_not_break_the_evaluation(
    dataset: Path, run_bundle: Callable, fresh_weights: Path, tmp_path: Path
) -> None:
    unnamed = rewritten_json(dataset, tmp_path / "unnamed", lambda content: content.pop("labels"))
    run_bundle("train", "evaluate", dataset_dir=unnamed, output_dir=tmp_path / "out", weights=fresh_weights)
    assert math.isfinite(read_json(tmp_path / "out")["pairs"][0]["tre"])


def test_pair_without_labels_or_keypoints_has_empty_cells(
    dataset: Path, run_bundle: Callable, fresh_weights: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    for folder, kind in product(["imagesTr", "labelsTr", "keypointsTr"], [".nii.gz", ".csv"]):
        (bare / folder).mkdir(parents=True, exist_ok=True)
        for file in sorted((dataset / folder).glob(f"*{kind}")):
            if folder == "imagesTr" or "0005" not in file.name:  # one of the two validation people has no companions
                (bare / folder / file.name).symlink_to(file)
    content = json.loads((dataset / "VIRTUAL_dataset.json").read_text())
    people = [f"./imagesTr/VIRTUAL_000{number}_0000.nii.gz" for number in (4, 5, 6)]
    content["training"] = content["training"][:2]
    content["registration_val"] = [
        {"fixed": people[1], "moving": people[2]},
        {"fixed": people[2], "moving": people[0]},
    ]
    (bare / "VIRTUAL_dataset.json").write_text(json.dumps(content))
    run_bundle("train", "evaluate", dataset_dir=bare, output_dir=tmp_path / "out", weights=fresh_weights)
    first, second = read_json(tmp_path / "out")["pairs"]
    assert first["dice"] is first["tre"] is first["hd95_before"] is None
    assert first["ndv_percent"] == 0.0
    assert read_json(tmp_path / "out")["summary"]["dice"]["mean"] == pytest.approx(second["dice"])


# --- weights --------------------------------------------------------------------------------------------------------


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
