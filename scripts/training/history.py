"""One row for each epoch of a training."""

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
    """One row per epoch: mean loss, learning rate, seconds and, where it was validated, the metrics.

    Where a training ended inside an epoch and went on, they are those of what it then did of it.

    Written to `history.csv` and drawn to `loss_curve.png` after every epoch; a resumed training goes on with the rows
    that are there. Attach it after the handlers that restore a checkpoint and validate.

    Args:
        output_dir: where the files go.
        optimizer: whose learning rate to note.
        evaluator: whose metrics to note.
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
        # A training that was killed before it saved its checkpoint has noted an epoch that comes again.
        self.rows = [{**row, "epoch": int(row["epoch"])} for row in rows if row["epoch"] <= engine.state.epoch]

    def _begin_epoch(self, engine: Engine) -> None:
        self.learning_rate = self.optimizer.param_groups[0]["lr"]
        self.began = time.perf_counter()

    def _end_epoch(self, engine: Engine) -> None:
        row = {
            "epoch": engine.state.epoch,
            "loss": engine.state.metrics["loss"],
            "learning_rate": self.learning_rate,
            "seconds": time.perf_counter() - self.began,
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
