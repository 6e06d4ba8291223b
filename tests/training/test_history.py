# SPDX-License-Identifier: Apache-2.0
"""The table of a training: its rows, and the rows that a resumed training keeps."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from scripts.training.history import History


def train(folder: Path, epochs: int, begin: int = 0) -> list[dict[str, str]]:
    """Train from epoch `begin` on; the rows on disk. The loss is the epoch, and every second epoch is validated."""
    trainer, evaluator = Engine(lambda *_: None), SimpleNamespace(state=SimpleNamespace(epoch=0, metrics={}))
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.5)

    @trainer.on(Events.STARTED)
    def resume() -> None:
        trainer.state.epoch = begin

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate() -> None:
        trainer.state.metrics["loss"] = float(trainer.state.epoch)
        if trainer.state.epoch % 2 == 0:
            evaluator.state.epoch, evaluator.state.metrics = trainer.state.epoch, {"dice": trainer.state.epoch / 10}
        for group in optimizer.param_groups:
            group["lr"] /= 2

    History(folder, optimizer, evaluator).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_each_epoch_has_a_row_with_its_metrics_if_it_was_validated(tmp_path: Path) -> None:
    rows = train(tmp_path, 4)
    assert [(row["epoch"], float(row["loss"]), row["dice"]) for row in rows] == [
        ("1", 1.0, ""),
        ("2", 2.0, "0.2"),
        ("3", 3.0, ""),
        ("4", 4.0, "0.4"),
    ]
    assert all(float(row["seconds"]) >= 0 for row in rows)
    assert (tmp_path / "loss_curve.png").exists()


def test_learning_rate_is_that_at_the_start_of_the_epoch(tmp_path: Path) -> None:
    assert [float(row["learning_rate"]) for row in train(tmp_path, 3)] == pytest.approx([0.5, 0.25, 0.125])


def test_resumed_training_appends_to_the_rows(tmp_path: Path) -> None:
    train(tmp_path, 2)
    assert [row["epoch"] for row in train(tmp_path, 4, begin=2)] == ["1", "2", "3", "4"]


def test_row_of_a_repeated_epoch_is_replaced(tmp_path: Path) -> None:
    # Killed after the row of epoch 3 and before its checkpoint, a training resumes after epoch 2.
    train(tmp_path, 3)
    assert [row["epoch"] for row in train(tmp_path, 3, begin=2)] == ["1", "2", "3"]


def test_new_training_begins_a_new_table(tmp_path: Path) -> None:
    train(tmp_path, 3)
    assert [row["epoch"] for row in train(tmp_path, 1)] == ["1"]
