# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of weights."""

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class ExponentialMovingAverage:
    """Exponential moving average of a network's weights over the steps of a training.

    After step `n + 1` the average is `d * average + (1 - d) * weights` with `d = min(decay, n / (n + 9))`. This warm-up
    is that of TensorFlow's ExponentialMovingAverage, one step later: the initial weights have no influence, and those
    of the first steps soon have little.

    Args:
        network: network that is trained.
        average: a copy of it, whose parameters become the average.
        decay: decay after the warm-up, in [0, 1), such as 0.999; with 0 the average is equal to the network.
    """

    def __init__(self, network: nn.Module, average: nn.Module, decay: float) -> None:
        self.network = network
        self.average = average
        self.decay = decay

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer; its iteration number is the number of steps."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        """Update the average after a step."""
        steps = engine.state.iteration - 1
        weight = 1 - min(self.decay, steps / (steps + 9))
        update = get_ema_multi_avg_fn(1 - weight)  # updates all parameters in one call
        update(list(self.average.parameters()), list(self.network.parameters()), None)
