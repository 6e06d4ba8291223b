# SPDX-License-Identifier: Apache-2.0
"""Training on virtual scans: the overlay configs/training/synthetic.yaml, end to end."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.synthesis.virtual_scans import RandSynthesizePaird

STAGES = [
    {"steps": 3, "spacing": 2, "size": None},
    {"steps": 3, "spacing": 1, "size": [16, 32, 16]},
    {"steps": 2, "spacing": 1, "size": None},
]
SIZES = {"pairs_per_epoch": 2, "val_interval": 4, "stages": STAGES}


@pytest.fixture
def train(run_bundle: Callable, dataset: Path, label_dir: Path) -> Callable[..., None]:
    def run(output_dir: Path, *overlays: str, **options: Any) -> None:
        given = {"dataset_dir": dataset, "label_dir": label_dir, "output_dir": output_dir}
        run_bundle("train", "training/synthetic.yaml", *overlays, **given, **SIZES, **options)

    return run


def test_resumed_stages_go_on_as_if_never_stopped(
    train: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, made, limit = [], RandSynthesizePaird.__call__, None

    def note(self: RandSynthesizePaird, data: dict) -> dict:
        if len(sizes) == limit:
            raise RuntimeError("stopped")
        result = made(self, data)
        sizes.append(tuple(result["image"].shape[1:]))
        return result

    monkeypatch.setattr(RandSynthesizePaird, "__call__", note)
    train(tmp_path / "straight")
    whole = [(16, 16, 16)] * 3 + [(16, 32, 16)] * 3 + [(32, 32, 32)] * 2
    assert sizes == whole

    sizes, limit = [], 5
    with pytest.raises(RuntimeError):
        train(tmp_path / "stopped")
    sizes, limit = [], None
    train(tmp_path / "stopped", resume=True)
    assert sizes == whole[4:]
    straight, stopped = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("straight", "stopped"))
    assert straight["epoch"] == stopped["epoch"] == 4
    for part in ("network", "average"):
        for name, value in straight[part].items():
            assert torch.equal(value, stopped[part][name]), name


def test_missing_label_maps_are_said_in_one_line(train: Callable, refused: Callable, tmp_path: Path) -> None:
    with refused("nowhere", "no such folder of label maps", "--label_dir"):
        train(tmp_path / "out", overrides={"label_dir": str(tmp_path / "nowhere")})


@pytest.mark.parametrize("options", [{}, {"similarity_weight": 0}])
def test_label_maps_take_part_in_the_loss(train: Callable, tmp_path: Path, options: dict[str, float]) -> None:
    losses = []
    for weight in (0, 2):
        output_dir = tmp_path / str(weight)
        given = {"dice_weight": weight, "dice_labels": [2, 3], "max_epochs": 1, **options}
        train(output_dir, "training/labels.yaml", overrides=given)
        with open(output_dir / "history.csv", newline="") as file:
            losses.append(float(next(csv.DictReader(file))["loss"]))
    assert 0.05 < losses[1] - losses[0] < 1.95  # twice a Dice that is neither 0 nor 1
