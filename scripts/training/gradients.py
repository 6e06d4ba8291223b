# SPDX-License-Identifier: Apache-2.0
"""Gradients between backward pass and optimizer: averaged over processes, clipped, checked to be finite."""

import logging

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm, parameters_to_vector, vector_to_parameters
from torch.optim import Optimizer

from scripts.runtime import InputError

_MAX_SKIPPED = 10  # consecutive steps without a finite gradient, after which training ends

logger = logging.getLogger(__name__)


class AverageGradients:
    """Average the gradients of processes that train together, so that all of them make the same step.

    At the start every process takes the weights of rank 0. torch's DistributedDataParallel is not used, because it
    hooks into `forward` while training calls `pyramid`. Its advantage, communication during the backward pass, is small
    for the few MB of this network's gradients.

    Args:
        network: network that is trained.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Attach to a MONAI trainer, before the handlers that read gradients."""
        engine.add_event_handler(Events.STARTED, self.share_weights)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    @torch.no_grad()
    def share_weights(self) -> None:
        """Copy the weights of rank 0."""
        weights = parameters_to_vector(self.network.parameters())
        dist.broadcast(weights, 0)
        vector_to_parameters(weights, self.network.parameters())

    def __call__(self, engine: Engine) -> None:
        """Average the gradients."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        mean = parameters_to_vector(gradients) / dist.get_world_size()
        dist.all_reduce(mean)
        vector_to_parameters(mean, gradients)


class ClipGradients:
    """Clip the norm of the gradient, and skip steps whose gradient is not finite.

    Args:
        network: network that is trained.
        optimizer: its optimizer; on a GPU with `fused=True`, which can skip a step without waiting for the GPU.
        max_norm: largest L2 norm of all gradients together, above 0; None for no limit.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer, max_norm: float | None = None) -> None:
        self.network = network
        self.optimizer = optimizer
        self.max_norm = max_norm
        self.skipped = torch.zeros(())  # number of consecutive skipped steps

    def attach(self, engine: Engine) -> None:
        """Attach to a MONAI trainer without loss scaling (bfloat16 needs none)."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.check)

    def __call__(self, engine: Engine) -> None:
        """Clip the gradient, or skip the step."""
        norm = get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        if self.max_norm is not None:
            clip_grads_with_norm_(self.network.parameters(), self.max_norm, norm)
        not_finite = (~norm.isfinite()).float()
        if self.skipped.device != norm.device:
            self.skipped = self.skipped.to(norm.device)
        self.skipped.add_(1).mul_(not_finite)
        if norm.is_cuda:
            self.optimizer.found_inf = not_finite  # type: ignore[attr-defined]  # as torch.amp.GradScaler does
        elif not_finite:
            # Optimizers skip parameters that have no gradient.
            self.network.zero_grad(set_to_none=True)

    def check(self, engine: Engine) -> None:
        """Log a skipped step; on a GPU only at every tenth step, because reading the counter waits for the GPU.

        Raises:
            InputError: if ten consecutive steps were skipped.
        """
        if self.skipped.is_cuda and engine.state.iteration % _MAX_SKIPPED:
            return
        count = int(self.skipped)
        if count:
            logger.warning("step %d is skipped: its gradient is not finite", engine.state.iteration)
        if count >= _MAX_SKIPPED:
            raise InputError(f"no finite gradient in {_MAX_SKIPPED} steps; check the images, or lower --learning_rate")
