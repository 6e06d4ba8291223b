# SPDX-License-Identifier: Apache-2.0
"""The table of a training, `history.csv`."""

import csv
import logging
import os
import time
from pathlib import Path
from typing import Any, TextIO

from ignite.engine import Engine, Events

from scripts.io import write_complete
from scripts.report import loss_curve

logger = logging.getLogger(__name__)


class History:
    """Table of a training, one row per epoch: mean loss, learning rate, seconds and, if it was validated, the metrics.

    It is written to `history.csv` and drawn to `loss_curve.png` after every epoch. A resumed training appends to the
    rows that are there. If it was interrupted inside an epoch, the row of this epoch is about the steps after that.
    Attach this handler after those that restore a checkpoint and validate.

    Args:
        output_dir: folder of the two files.
        optimizer: optimizer with the learning rate.
        evaluator: evaluator with the metrics.
    """

    def __init__(self, output_dir: str | os.PathLike[str], optimizer: Any, evaluator: Engine) -> None:
        self.output_dir = Path(output_dir)
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.rows: list[dict[str, float]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self._read)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)

    def _read(self, engine: Engine) -> None:
        path = self.output_dir / "history.csv"
        if engine.state.epoch == 0 or not path.exists():
            return
        with open(path, newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
        # A training that was killed before it saved its checkpoint has written the row of an epoch that is repeated.
        self.rows = [{**row, "epoch": int(row["epoch"])} for row in rows if row["epoch"] <= engine.state.epoch]

    def _begin_epoch(self, engine: Engine) -> None:
        self.learning_rate = self.optimizer.param_groups[0]["lr"]
        self.start_time = time.perf_counter()

    def _end_epoch(self, engine: Engine) -> None:
        row = {
            "epoch": engine.state.epoch,
            "loss": engine.state.metrics["loss"],
            "learning_rate": self.learning_rate,
            "seconds": time.perf_counter() - self.start_time,
        }
        if self.evaluator.state.epoch == engine.state.epoch:
            row.update({name: float(value) for name, value in self.evaluator.state.metrics.items()})
            logger.info(", ".join(f"{name} {value:.5g}" for name, value in row.items()))
        self.rows.append(row)
        write_complete(self.output_dir / "history.csv", self._write)
        loss_curve(self.output_dir / "loss_curve.png", self.rows)

    def _write(self, file: TextIO) -> None:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in self.rows for name in row)))
        writer.writeheader()
        writer.writerows(self.rows)
