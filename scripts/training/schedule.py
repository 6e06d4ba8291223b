# SPDX-License-Identifier: Apache-2.0
"""Learning rate, curriculum and time limit of a training."""

import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from ignite.engine import Engine, Events

from scripts.datasets import check_box
from scripts.runtime import InputError, check_options, gathered

logger = logging.getLogger(__name__)


def warmup_then_decay(epochs: int, steps_per_epoch: int, warmup: int = 0) -> Callable[[int], float]:
    """Factor of the learning rate for `LambdaLR`: linear warm-up times polynomial decay of power 0.9.

    Args:
        epochs: number of epochs of the training, from 1; after them the factor is 0.
        steps_per_epoch: number of steps of an epoch, from 1.
        warmup: number of warm-up steps, from 0; the factor of the first one is `1/warmup` times the decay.

    Returns:
        Function from the number of completed steps to the factor of the next step.

    Raises:
        InputError: if the number of epochs is none.
    """
    check_options({"max_epochs": epochs})
    steps = epochs * steps_per_epoch

    def factor(step: int) -> float:
        return min((step + 1) / max(warmup, 1), 1.0) * max(1 - step / steps, 0.0) ** 0.9

    return factor


def epochs_for(stages: Sequence[Mapping[str, Any]], steps_per_epoch: int) -> int:
    """Number of epochs for the steps of all stages, rounded up; the last stage lasts to the end of the last epoch.

    Args:
        stages: stages of a `Curriculum`.
        steps_per_epoch: number of steps of an epoch, from 1.

    Raises:
        InputError: for a stage without a number of steps.
    """
    return -(-sum(_steps(stage) for stage in stages) // steps_per_epoch)


class Curriculum:
    """Set attributes of the transform that makes the training pairs, stage by stage, such as small volumes first.

    Args:
        transform: transform of the training pairs.
        stages: stages in order, each a dict of `steps`, its number of steps from 1, and of the transform's attributes
            in this stage; the last stage lasts to the end of the training. Without stages nothing is set.
        shape: size of the scans, voxels; None if it is not known.

    Raises:
        InputError: for a stage without a number of steps, with an attribute that the transform does not have, or with
            a `spacing` or `size` that no box of the scans can have.
    """

    def __init__(self, transform: Any, stages: Sequence[Mapping[str, Any]], shape: Sequence[int] | None = None) -> None:
        self.transform = transform
        self.attributes = [{name: value for name, value in stage.items() if name != "steps"} for stage in stages]
        self.ends = list(accumulate(_steps(stage) for stage in stages))
        unknown = [name for attributes in self.attributes for name in attributes if not hasattr(transform, name)]
        if unknown:
            raise InputError(f"--stages: {type(transform).__name__}, which makes the pairs, has no '{unknown[0]}'")
        boxes = {"spacing": getattr(transform, "spacing", 1), "size": getattr(transform, "size", None)}
        for number, attributes in enumerate(self.attributes or [{}], start=1):
            boxes |= {name: attributes[name] for name in boxes if name in attributes}
            _check_box(**boxes, shape=shape, option=f"--stages, stage {number}" if stages else "the training's boxes")

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer whose data loader has no worker processes, which would make pairs ahead."""
        if self.ends:
            engine.add_event_handler(Events.GET_BATCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the attributes of the next step's stage."""
        stage = min(bisect_right(self.ends, engine.state.iteration), len(self.ends) - 1)
        for name, value in self.attributes[stage].items():
            setattr(self.transform, name, value)


class TimeLimit:
    """End a training before the first step that would start after a time limit; `LastCheckpoint` saves its state.

    Args:
        minutes: limit from the start of the training, from 0; None for no limit. The last step, and validation and
            saving at the end of an epoch, may exceed it.

    Raises:
        InputError: if `minutes` is not a number from 0.
    """

    def __init__(self, minutes: float | None = None) -> None:
        check_options({"minutes": minutes})
        self.minutes = minutes

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if self.minutes is not None:
            engine.add_event_handler(Events.STARTED, self._start)
            engine.add_event_handler(Events.GET_BATCH_STARTED, self)

    def _start(self) -> None:
        self.start_time = time.monotonic()

    def __call__(self, engine: Engine) -> None:
        """End the training if the time is over."""
        assert self.minutes is not None
        # Processes that train together must end before the same step, so the clock of rank 0 decides.
        if gathered([time.monotonic() - self.start_time >= 60 * self.minutes])[0]:
            logger.info(
                "%g minutes are over after step %d; go on with --resume true", self.minutes, engine.state.iteration
            )
            engine.terminate()


def _check_box(spacing: Any, size: Any, shape: Sequence[int] | None, option: str) -> None:
    """Refuse a box that cannot be, and warn of one that is larger than the scans."""
    check_box(spacing, size, option)
    if shape is None:
        return
    scans = "x".join(map(str, shape))
    if spacing > min(shape):
        raise InputError(f"{option}: spacing {spacing}: the scans have {scans} voxels; give a smaller one")
    if size is not None and any(n * spacing > m for n, m in zip(size, shape, strict=True)):
        box = "x".join(str(n * spacing) for n in size)
        logger.warning("%s: boxes of %s voxels of scans of %s: zeros fill the rest, and cost time", option, box, scans)


def _steps(stage: Mapping[str, Any]) -> int:
    steps = stage.get("steps")
    if not isinstance(steps, int) or steps < 1:
        raise InputError(f"--stages: {dict(stage)} does not say how long it lasts; give its 'steps', from 1")
    return steps
