"""What changes in the course of a training: learning rate, stages, and its end."""

import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from ignite.engine import Engine, Events

from scripts.runtime import InputError, gathered

logger = logging.getLogger(__name__)


def warmup_then_decay(steps: int, warmup: int = 0) -> Callable[[int], float]:
    """Learning rate per step, as a factor for `LambdaLR`: a linear rise, under a polynomial decay of power 0.9.

    Args:
        steps: of the whole training; at the end of them the factor is 0.
        warmup: steps until the rise is over, the first of which has the factor `1/warmup`.

    Returns:
        A function from the number of steps done to the factor of the next one.
    """

    def factor(step: int) -> float:
        return min((step + 1) / max(warmup, 1), 1.0) * max(1 - step / steps, 0.0) ** 0.9

    return factor


def epochs_for(stages: Sequence[Mapping[str, Any]], steps_per_epoch: int) -> int:
    """Epochs that hold all steps of the stages of a `Curriculum`; the last one stays to the end of the last epoch.

    Raises:
        InputError: for a stage without a number of steps.
    """
    return -(-sum(_steps(stage) for stage in stages) // steps_per_epoch)


class Curriculum:
    """Change a transform's attributes as training goes on: small volumes first, then large ones.

    Args:
        transform: what makes the training pairs.
        stages: in order, each a dict of `steps`, how long it lasts, and of the attributes that the transform has then;
            the last one stays. Without stages nothing changes.

    Raises:
        InputError: for a stage without a number of steps, or with an attribute that the transform does not have.
    """

    def __init__(self, transform: Any, stages: Sequence[Mapping[str, Any]]) -> None:
        self.transform = transform
        self.attributes = [{name: value for name, value in stage.items() if name != "steps"} for stage in stages]
        self.ends = list(accumulate(_steps(stage) for stage in stages))
        unknown = [name for attributes in self.attributes for name in attributes if not hasattr(transform, name)]
        if unknown:
            raise InputError(f"--stages: {type(transform).__name__}, which makes the pairs, has no '{unknown[0]}'")

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer whose data loader makes a pair when it is asked for one."""
        if self.ends:
            engine.add_event_handler(Events.GET_BATCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the attributes of the next step's stage."""
        stage = min(bisect_right(self.ends, engine.state.iteration), len(self.ends) - 1)
        for name, value in self.attributes[stage].items():
            setattr(self.transform, name, value)


class TimeLimit:
    """End a training after some minutes, before its next step; `LastCheckpoint` saves what it needs to go on.

    Args:
        minutes: from the training's start to its end, but for what the last step and what follows an epoch take; None
            for no limit.

    Raises:
        InputError: for anything but a number from 0.
    """

    def __init__(self, minutes: float | None = None) -> None:
        if minutes is not None and not (isinstance(minutes, int | float) and minutes >= 0):
            raise InputError(f"--minutes {minutes}: want a number from 0")
        self.minutes = minutes

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if self.minutes is not None:
            engine.add_event_handler(Events.STARTED, self._begin)
            engine.add_event_handler(Events.GET_BATCH_STARTED, self)

    def _begin(self) -> None:
        self.began = time.monotonic()

    def __call__(self, engine: Engine) -> None:
        """End the training if it is time."""
        assert self.minutes is not None
        # Clocks differ, but processes that train together must end before the same step.
        if gathered([time.monotonic() - self.began >= 60 * self.minutes])[0]:
            logger.info(
                "%g minutes are over after step %d; go on with --resume true", self.minutes, engine.state.iteration
            )
            engine.terminate()


def _steps(stage: Mapping[str, Any]) -> int:
    steps = stage.get("steps")
    if not isinstance(steps, int) or steps < 1:
        raise InputError(f"--stages: {dict(stage)} does not say how long it lasts; give its 'steps', from 1")
    return steps
