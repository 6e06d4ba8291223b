# SPDX-License-Identifier: Apache-2.0
"""A progress bar for a training, an evaluation or a registration."""

import sys
import time

from ignite.engine import Engine, Events
from tqdm import tqdm


class Progress:
    """A progress bar over the whole run, with the time left and, in training, the loss.

    Args:
        description: text before the bar, such as `training`.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self.bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer or an evaluator; to a trainer after the handler that restores its state."""
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _open(self, engine: Engine) -> None:
        epochs = engine.state.max_epochs - engine.state.epoch
        done = engine.state.epoch * engine.state.epoch_length if epochs > 1 else 0
        # Seconds between updates. A terminal overwrites its line; in a log file every update is a line.
        self.interval = 0.1 if sys.stderr.isatty() else 15.0
        self.updated = 0.0
        total = done + epochs * engine.state.epoch_length
        done += engine.state.iteration % engine.state.epoch_length  # steps of a training that ended inside an epoch
        self.bar = tqdm(desc=self.description, initial=done, total=total, mininterval=self.interval, dynamic_ncols=True)

    def _advance(self, engine: Engine) -> None:
        assert self.bar is not None
        output = engine.state.output
        # Not at every step: reading the loss waits for the GPU.
        if isinstance(output, list) and "loss" in output[0] and time.monotonic() - self.updated >= self.interval:
            self.updated = time.monotonic()
            self.bar.set_postfix(epoch=engine.state.epoch, loss=f"{output[0]['loss']:.4f}", refresh=False)
        self.bar.update()

    def _close(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()

    def _fail(self, engine: Engine, error: BaseException) -> None:
        # An open bar would share its line with the message. ignite expects a handler to raise the error again.
        self._close(engine)
        raise error
