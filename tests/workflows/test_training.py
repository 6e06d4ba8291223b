# SPDX-License-Identifier: Apache-2.0
"""One command trains: what it leaves, and that it learns."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.fixtures.states import differences

ONE_EPOCH = {"max_epochs": 1, "pairs_per_epoch": 1, "val_interval": 1}


def read_history(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def read_checkpoint(path: Path) -> dict:
    return torch.load(path, weights_only=True)


# --- what it leaves ---------------------------------------------------------------------------------------------------


def test_it_leaves_checkpoints_history_and_curve(trained: Path) -> None:
    events = list(trained.glob("events.out.tfevents.*"))
    assert events
    assert {path.name for path in trained.iterdir()} - {path.name for path in events} == {
        "last.pt",
        "model.pt",
        "history.csv",
        "loss_curve.png",
    }
    assert (trained / "loss_curve.png").read_bytes().startswith(b"\x89PNG")


def test_history_has_a_row_for_every_epoch(trained: Path) -> None:
    rows = read_history(trained)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert set(rows[0]) == {"epoch", "loss", "learning_rate", "seconds", "dice", "ndv_percent"}
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())


def test_history_has_the_learning_rate_of_the_epoch(trained: Path) -> None:
    rates = [float(row["learning_rate"]) for row in read_history(trained)]
    assert rates == pytest.approx([0.0004 * (1 - epoch / 4) ** 0.9 for epoch in range(4)])


def test_tensorboard_shows_loss_and_validation(trained: Path) -> None:
    scalars: dict[str, int] = {}
    for file in trained.glob("events.out.tfevents.*"):
        accumulator = EventAccumulator(str(file)).Reload()
        scalars.update({tag: len(accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"]})
    assert scalars["train_loss"] == 8  # steps
    assert scalars["dice"] == scalars["ndv_percent"] == 4  # validations


def test_best_model_is_that_of_the_best_epoch(trained: Path) -> None:
    best = max(float(row["dice"]) for row in read_history(trained))
    checkpoint = read_checkpoint(trained / "last.pt")
    assert checkpoint["best_model"]["best"] == best
    assert read_checkpoint(trained / "model.pt").keys() == checkpoint["network"].keys()


def test_loss_goes_down(run_bundle: Callable, dataset: Path, tmp_path: Path) -> None:
    sizes = {"max_epochs": 3, "pairs_per_epoch": 6, "val_interval": 3, "learning_rate": 0.002}
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, **sizes)
    first, *_, last = [float(row["loss"]) for row in read_history(tmp_path)]
    assert last < first - 0.02


def test_model_is_left_before_the_first_validation(run_bundle: Callable, dataset: Path, tmp_path: Path) -> None:
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, max_epochs=1, pairs_per_epoch=1)
    assert (tmp_path / "model.pt").exists()


def test_missing_dataset_is_refused(run_bundle: Callable, refused: Callable, tmp_path: Path) -> None:
    with refused(tmp_path / "nowhere", "no such dataset folder"):
        run_bundle("train", dataset_dir=tmp_path / "nowhere", output_dir=tmp_path / "out", **ONE_EPOCH)


@pytest.mark.parametrize(("overlay", "options"), [("boxes", {"box": [16, 16, 16]}), ("short", {})])
def test_training_starts_from_given_weights(
    run_bundle: Callable, small_dataset: Path, random_weights: Path, tmp_path: Path, overlay: str, options: dict
) -> None:
    """A learning rate of 0 leaves them as they are."""
    given = {**ONE_EPOCH, "learning_rate": 0, "overrides": {"weights": str(random_weights)}, **options}
    run_bundle("train", f"training/{overlay}.yaml", dataset_dir=small_dataset, output_dir=tmp_path, **given)
    assert differences(read_checkpoint(random_weights), read_checkpoint(tmp_path / "model.pt")) == []


# --- without labels ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lumir(odd_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data as LUMIR's download has them: images only, validation pairs under `validation`."""
    data = tmp_path_factory.mktemp("data") / "LUMIR"
    for section, source in (("imagesTr", slice(0, 2)), ("imagesVal", slice(2, 4))):
        (data / section).mkdir(parents=True)
        for image in sorted((odd_dataset / "imagesTr").iterdir())[source]:
            (data / section / image.name).symlink_to(image)
    images = {folder: sorted(path.name for path in (data / folder).iterdir()) for folder in ("imagesTr", "imagesVal")}
    fixed, moving = (f"./imagesVal/{name}" for name in images["imagesVal"])
    content = {
        "name": "LUMIR",
        "tensorImageSize": "3D",
        "modality": {"0": "MR"},
        "numTraining": 2,
        "training": [{"image": f"./imagesTr/{name}"} for name in images["imagesTr"]],
        "validation": [{"fixed": fixed, "moving": moving}],
    }
    (data / "LUMIR_dataset.json").write_text(json.dumps(content))
    return data


def test_lumir_trains_and_is_evaluated_without_labels(
    run_bundle: Callable, lumir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run_bundle("train", dataset_dir=lumir, output_dir=tmp_path, max_epochs=2, pairs_per_epoch=1, val_interval=1)
    rows = read_history(tmp_path)
    assert [row["dice"] for row in rows] == ["nan", "nan"]
    assert all(float(row["ndv_percent"]) == 0.0 for row in rows)
    # Nothing says which epoch is the best, so it is the last.
    last = read_checkpoint(tmp_path / "last.pt")["network"]
    assert differences(last, read_checkpoint(tmp_path / "model.pt")) == []

    capsys.readouterr()
    run_bundle("train", "evaluate", dataset_dir=lumir, output_dir=tmp_path)
    table = json.loads((tmp_path / "metrics.json").read_text())
    assert table["pairs"][0]["dice"] is None
    assert table["summary"]["ndv_percent"]["mean"] == 0.0
    printed = capsys.readouterr().out
    assert "ndv_percent" in printed
    assert "nan" not in printed


def test_lumir_overlay_keeps_the_model_of_the_best_lncc(run_bundle: Callable, lumir: Path, tmp_path: Path) -> None:
    sizes = {"max_epochs": 2, "pairs_per_epoch": 1, "val_interval": 1}
    run_bundle("train", "datasets/lumir.yaml", dataset_dir=lumir, output_dir=tmp_path, **sizes)
    values = [float(row["lncc"]) for row in read_history(tmp_path)]
    assert all(0 < value < 1 for value in values)
    assert read_checkpoint(tmp_path / "last.pt")["best_model"]["best"] == max(values)
