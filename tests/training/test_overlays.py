# SPDX-License-Identifier: Apache-2.0
"""The overlays of configs/training: their schedules, and labels in the loss with any of them."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("overlays", [["curriculum"], ["synthetic"], ["synthetic", "curriculum"]], ids=" ".join)
def test_schedule_covers_all_stages(bundle: Callable, dataset: Path, label_dir: Path, overlays: list[str]) -> None:
    given = {"dataset_dir": dataset, "label_dir": label_dir}
    parser = bundle("train", *(f"training/{name}.yaml" for name in overlays), **given).parser
    steps = sum(stage["steps"] for stage in parser["stages"])
    # 8000 + 2000 + 1000, and 750 + 1200 + 50.
    assert steps == (11000 if "curriculum" in overlays else 2000)
    assert parser.get_parsed_content("max_epochs") * parser["pairs_per_epoch"] == steps
    factor = parser.get_parsed_content("lr_scheduler").lr_lambdas[0]
    assert factor(steps - 1) > 0 == factor(steps)


def test_most_steps_of_the_curriculum_have_half_size(bundle: Callable) -> None:
    stages = bundle("train", "training/curriculum.yaml").parser["stages"]
    assert stages[0]["spacing"] == 2
    assert stages[0]["steps"] > sum(stage["steps"] for stage in stages[1:])


OTHERS = ["curriculum", "boxes", "deformed", "short", "synthetic"]


@pytest.mark.parametrize("other", OTHERS)
def test_labels_may_come_before_or_after_any_other_overlay(bundle: Callable, other: str) -> None:
    first, last = (
        bundle("train", *(f"training/{name}.yaml" for name in names)).parser.get()
        for names in (("labels", other), (other, "labels"))
    )
    assert first == last


def test_deformed_scans_may_be_boxes(bundle: Callable) -> None:
    parser = bundle("train", "training/deformed.yaml", "training/boxes.yaml").parser
    transform = parser.get_parsed_content("train#pair_transform")
    assert type(transform).__name__ == "RandDeformPaird"
    assert transform.size == parser["box"] == [96, 112, 96]


WITH_LABELS = [["labels"], *([name, "labels"] for name in OTHERS), ["synthetic", "curriculum", "labels"]]


@pytest.mark.parametrize("overlays", WITH_LABELS, ids=" ".join)
def test_labels_are_compared_with_any_other_overlay(
    run_bundle: Callable, dataset: Path, small_dataset: Path, label_dir: Path, tmp_path: Path, overlays: list[str]
) -> None:
    losses = []
    folder = small_dataset if "short" in overlays else dataset  # short.yaml resamples to 2 mm
    for weight in (0, 2):
        given: dict[str, Any] = {"dice_weight": weight, "labels_per_step": 31, "max_epochs": 1, "pairs_per_epoch": 2}
        given |= {"box": [16, 32, 16]} if "boxes" in overlays else {}
        given |= {"label_dir": str(label_dir)} if "synthetic" in overlays else {}
        given |= {"stages": [{"steps": 1, "spacing": 2, "size": None}, {"steps": 1, "spacing": 1, "size": None}]}
        files = [f"training/{name}.yaml" for name in overlays]
        run_bundle("train", *files, dataset_dir=folder, output_dir=tmp_path / str(weight), overrides=given)
        with open(tmp_path / str(weight) / "history.csv", newline="") as file:
            losses.append(float(next(csv.DictReader(file))["loss"]))
    # Twice a Dice loss between 0 and 1.
    assert 0.01 < losses[1] - losses[0] < 1.99


def test_drawn_labels_are_those_of_the_data(bundle: Callable, dataset: Path, label_dir: Path) -> None:
    def labels(*overlays: str, **options: Any) -> list[int]:
        parser = bundle("train", *(f"training/{name}.yaml" for name in overlays), dataset_dir=dataset, **options).parser
        return parser.get_parsed_content("train#trainer#prepare_batch").labels.tolist()

    named = [int(value) for value in json.loads(next(dataset.glob("*dataset.json")).read_text())["labels"]]
    assert labels("labels") == labels("curriculum", "labels") == [value for value in named if value != 0]
    assert labels("synthetic", "labels") == labels("labels", "synthetic")
    assert {17, 53} < set(labels("synthetic", "labels"))
    assert labels("labels", overrides={"dice_labels": [5]}) == [5]


def test_scan_without_labels_is_named(run_bundle: Callable, refused: Callable, dataset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(dataset, tmp_path / "dataset")
    file = next(folder.glob("*dataset.json"))
    content = json.loads(file.read_text())
    for entry in content["training"]:
        entry.pop("label", None)
    file.write_text(json.dumps(content))
    image = sorted((folder / "imagesTr").iterdir())[1]
    (folder / "labelsTr" / image.name).unlink()
    with refused(image.name, "no label map", "labels.yaml"):
        run_bundle("train", "training/labels.yaml", dataset_dir=folder, output_dir=tmp_path / "out")
    assert not (tmp_path / "out" / "last.pt").exists()
    run_bundle("train", dataset_dir=folder, output_dir=tmp_path / "out", max_epochs=1, pairs_per_epoch=1)


def test_stages_in_epochs_are_refused(run_bundle: Callable, refused: Callable, dataset: Path, tmp_path: Path) -> None:
    stages = [{"epochs": 1, "spacing": 2, "size": None}]
    for overlay in ([], ["training/curriculum.yaml"]):
        with refused("--stages", "'epochs': 1", "'steps'"):
            run_bundle("train", *overlay, dataset_dir=dataset, output_dir=tmp_path, stages=stages)
