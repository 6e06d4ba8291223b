"""Averaged weights."""

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


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
