"""Gradients between backward pass and optimizer: averaged over processes, clipped, finite."""

import logging

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm, parameters_to_vector, vector_to_parameters
from torch.optim import Optimizer

from scripts.runtime import InputError

_HOPELESS = 10  # steps in a row without a finite gradient

logger = logging.getLogger(__name__)


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
