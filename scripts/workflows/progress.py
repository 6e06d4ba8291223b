"""What a user sees of a running training or evaluation."""

import csv
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from ignite.engine import Engine, Events
from tqdm import tqdm

from scripts.metrics import write_complete
from scripts.report import loss_curve

logger = logging.getLogger(__name__)


class Progress:
    """A progress bar over the whole run, with the time left and, in training, the loss.

    Args:
        description: what is going on.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self.bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer or an evaluator; to a trainer after whatever restores its state."""
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._abandon)

    def _open(self, engine: Engine) -> None:
        epochs = engine.state.max_epochs - engine.state.epoch
        done = engine.state.epoch * engine.state.epoch_length if epochs > 1 else 0
        # A log file gets a line now and then; only a terminal can overwrite its own.
        self.interval = 0.1 if sys.stderr.isatty() else 15.0
        self.shown = 0.0
        total = done + epochs * engine.state.epoch_length
        done += engine.state.iteration % engine.state.epoch_length  # of a training that ended inside an epoch
        self.bar = tqdm(desc=self.description, initial=done, total=total, mininterval=self.interval, dynamic_ncols=True)

    def _advance(self, engine: Engine) -> None:
        assert self.bar is not None
        output = engine.state.output
        # Not at every step: to read the loss waits for the GPU.
        if isinstance(output, list) and "loss" in output[0] and time.monotonic() - self.shown >= self.interval:
            self.shown = time.monotonic()
            self.bar.set_postfix(epoch=engine.state.epoch, loss=f"{output[0]['loss']:.4f}", refresh=False)
        self.bar.update()

    def _close(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()

    def _abandon(self, engine: Engine, error: BaseException) -> None:
        # An open bar would share its line with the message. ignite leaves it to its handlers to raise again.
        self._close(engine)
        raise error


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
