# SPDX-License-Identifier: Apache-2.0
"""Which labels and points of a dataset are evaluated, and what becomes of pairs without them."""

import json
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from scripts.networks import MSFBNet
from tests.workflows.learn2reg import expected_rows


def read_json(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


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
    dataset: Path, run_bundle: Callable, fresh_weights: Path, random_network: MSFBNet, tmp_path: Path
) -> None:
    fewer = rewritten_json(dataset, tmp_path / "fewer", lambda content: [content["labels"].pop(key) for key in "123"])
    expected = [row["dice_before"] for row in expected_rows(fewer, random_network)]
    assert expected != [pytest.approx(row["dice_before"], abs=1e-3) for row in expected_rows(dataset, random_network)]
    options = {"weights": fresh_weights, "output_dir": tmp_path / "out"}
    run_bundle(
        "train", "evaluate", dataset_dir=dataset, labels="${value: str(value) for value in range(4, 14)}", **options
    )
    assert dice_values(tmp_path / "out") == pytest.approx(expected, abs=1e-6)
    run_bundle("train", "evaluate", dataset_dir=fewer, **options)
    assert dice_values(tmp_path / "out") == pytest.approx(expected, abs=1e-6)


def test_evaluation_does_without_names_of_labels(
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
