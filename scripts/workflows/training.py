"""What a long training needs beside the optimizer: schedules, a time limit, clipped gradients, averaged weights."""

import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm, parameters_to_vector, vector_to_parameters
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from scripts.processes import gathered
from scripts.world import InputError

_HOPELESS = 10  # steps in a row without a finite gradient

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


def _steps(stage: Mapping[str, Any]) -> int:
    steps = stage.get("steps")
    if not isinstance(steps, int) or steps < 1:
        raise InputError(f"--stages: {dict(stage)} does not say how long it lasts; give its 'steps', from 1")
    return steps


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


class AverageGradients:
    """Average the gradients of processes that train together, so that they make one step, that of all their pairs.

    Not torch's DistributedDataParallel: that one hooks into `forward`, while training calls `pyramid`. What it gains by
    sending gradients while others are still computed would not show at the few MB of this network's. At the start all
    take the weights of rank 0, from then on their steps keep them the same.

    Args:
        network: whose gradients to average.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer of MONAI's, before the handlers that look at gradients."""
        engine.add_event_handler(Events.STARTED, self.share_weights)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    @torch.no_grad()
    def share_weights(self) -> None:
        """Take the weights of rank 0."""
        weights = parameters_to_vector(self.network.parameters())
        dist.broadcast(weights, 0)
        vector_to_parameters(weights, self.network.parameters())

    def __call__(self, engine: Engine) -> None:
        """Average."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        mean = parameters_to_vector(gradients) / dist.get_world_size()
        dist.all_reduce(mean)
        vector_to_parameters(mean, gradients)


class ClipGradients:
    """Scale a step's gradient down to a norm; without a finite one, leave the step out: one bad batch ruins nothing.

    Args:
        network: whose gradients to clip.
        optimizer: that makes the steps; on a GPU with `fused=True`, which leaves steps out without waiting for the GPU.
        max_norm: of all gradients together (L2); None leaves finite ones as they are.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer, max_norm: float | None = None) -> None:
        self.network = network
        self.optimizer = optimizer
        self.max_norm = max_norm
        self.left_out = torch.zeros(())  # steps in a row

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer of MONAI's, which must not scale its losses (bfloat16 needs no scaling)."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.check)

    def __call__(self, engine: Engine) -> None:
        """Clip, or leave the step out."""
        norm = get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        if self.max_norm is not None:
            clip_grads_with_norm_(self.network.parameters(), self.max_norm, norm)
        not_finite = (~norm.isfinite()).float()
        if self.left_out.device != norm.device:
            self.left_out = self.left_out.to(norm.device)
        self.left_out.add_(1).mul_(not_finite)
        if norm.is_cuda:
            self.optimizer.found_inf = not_finite  # type: ignore[attr-defined]  # as torch.amp.GradScaler does
        elif not_finite:
            # Optimizers pass over parameters without a gradient.
            self.network.zero_grad(set_to_none=True)

    def check(self, engine: Engine) -> None:
        """Say so if the step was left out; on a GPU only now and then, as asking waits for it.

        Raises:
            InputError: if ten steps in a row were left out.
        """
        if self.left_out.is_cuda and engine.state.iteration % _HOPELESS:
            return
        count = int(self.left_out)
        if count:
            logger.warning("step %d is left out: its gradient is not finite", engine.state.iteration)
        if count >= _HOPELESS:
            raise InputError(f"no finite gradient in {_HOPELESS} steps; check the images, or lower --learning_rate")


class ExponentialMovingAverage:
    """Keep the average of a network's weights over the steps of a training, recent ones counting most.

    After `n` steps the next one leaves `min(decay, n / (n + 9))` of it (the warm-up of TensorFlow's
    ExponentialMovingAverage, one step later), so that weights of before the first step do not count, and those of the
    first steps not for long.

    Args:
        network: whose parameters to average.
        average: a copy of it, for the averaged parameters.
        decay: below 1, such as 0.999; at 0 the average is the network as it is.
    """

    def __init__(self, network: nn.Module, average: nn.Module, decay: float) -> None:
        self.network = network
        self.average = average
        self.decay = decay

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, whose iteration number says how many steps were made."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        """Take in the step."""
        steps = engine.state.iteration - 1
        weight = 1 - min(self.decay, steps / (steps + 9))
        update = get_ema_multi_avg_fn(1 - weight)  # of all parameters at once
        update(list(self.average.parameters()), list(self.network.parameters()), None)
