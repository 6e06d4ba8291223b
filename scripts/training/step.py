# SPDX-License-Identifier: Apache-2.0
"""One step of a training; on a GPU it is captured once as a CUDA graph and then replayed."""

import logging
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor

_EAGER_STEPS = 3  # steps of one size before the capture, in which algorithms are chosen and memory is allocated

logger = logging.getLogger(__name__)


class TrainingStep:
    """Iteration of a MONAI trainer: forward, loss, backward, optimizer.

    On a GPU a step has thousands of small kernels, and launching them takes longer than running them. So the whole step
    is captured as a CUDA graph, once for each size of the images, and replayed in the following steps. Handlers of
    `IterationEvents` up to `BACKWARD_COMPLETED` are captured with it: on a GPU they must not wait for it (no
    `.item()`), and the trainer's state that they read is that of the capture. The learning rate is not captured. If a
    capture fails, a warning is logged, and the training continues without it.

    The trainer needs `decollate=False`, and on a GPU an optimizer with `capturable=True`. Its output is
    `[{"loss": loss}]`, a scalar tensor on the device.
    """

    def __init__(self) -> None:
        self.captures = True
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.count = 0  # number of consecutive steps of this size

    def __call__(self, engine: SupervisedTrainer, batch: Any) -> list[dict[str, Tensor]]:
        """Make a step with one batch."""
        image, target = engine.prepare_batch(batch, engine.state.device, engine.non_blocking)
        engine.network.train()
        make = self._captured if image.is_cuda and self.captures else step
        engine.state.output = [{"loss": make(engine, image, target)}]
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _captured(self, engine: SupervisedTrainer, image: Tensor, target: Any) -> Tensor:
        inputs = [image, *(target if isinstance(target, tuple) else (target,))]
        if [tensor.shape for tensor in inputs] != [tensor.shape for tensor in self.inputs]:
            self.graph, self.count = None, 0  # frees the memory of the other size
            self.inputs = [tensor.clone() for tensor in inputs]
            self.target = tuple(self.inputs[1:]) if isinstance(target, tuple) else self.inputs[1]
        for own, new in zip(self.inputs, inputs, strict=True):
            own.copy_(new)
        self.count += 1
        if self.graph is None and self.count > _EAGER_STEPS:
            self._capture(engine)
        if self.graph is None:
            return self._eager(engine)
        self.rate.fill_(float(engine.optimizer.param_groups[0]["lr"]))
        self.graph.replay()
        return self.loss

    def _eager(self, engine: SupervisedTrainer) -> Tensor:
        """A step without capture, on a side stream, which a later capture requires."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = step(engine, self.inputs[0], self.target)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _capture(self, engine: SupervisedTrainer) -> None:
        graph, groups = torch.cuda.CUDAGraph(), engine.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        self.rate = torch.zeros((), device=self.inputs[0].device)
        try:
            for group in groups:
                group["lr"] = self.rate  # a tensor, whose value every replay reads
            with torch.cuda.graph(graph):
                self.loss = step(engine, self.inputs[0], self.target)
            self.graph = graph
        except RuntimeError as error:
            self.captures = False
            logger.warning("the step is not captured (%s); training goes on without", str(error).splitlines()[0])
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate


def step(engine: SupervisedTrainer, image: Tensor, target: Any) -> Tensor:
    """Forward, loss, backward, optimizer; returns the detached loss."""
    # None instead of zeros, because then the first gradient is stored and not added.
    engine.optimizer.zero_grad(set_to_none=True)
    fields = engine.inferer(image, engine.network)
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    loss = engine.loss_function(fields, target)
    engine.fire_event(IterationEvents.LOSS_COMPLETED)
    loss.backward()
    engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
    engine.optimizer.step()
    return loss.detach()
