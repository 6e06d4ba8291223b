"""A progress bar for a running training, evaluation or registration."""

import sys
import time

from ignite.engine import Engine, Events
from tqdm import tqdm


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
