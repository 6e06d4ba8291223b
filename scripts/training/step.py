"""One step of a training; on a GPU it is captured once as a whole and then replayed."""

import logging
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor

_FIRST = 3  # steps of one size before it is captured: what is chosen or allocated once happens in them

logger = logging.getLogger(__name__)


class TrainingStep:
    """Iteration of MONAI's trainer: forward, loss, backward, optimizer.

    On a GPU a step has thousands of small kernels, and to launch them one by one takes longer than to run them. So the
    whole step is captured as a CUDA graph, once for each size of the images, and replayed for the steps that follow.
    Handlers of `IterationEvents` up to `BACKWARD_COMPLETED` are captured with it: on a GPU they must not wait for it
    (no `.item()`), and what they read of the trainer is what it was at the capture. The learning rate is not captured.
    Where a capture fails, one line says so, and training goes on without.

    The trainer wants `decollate=False`, and an optimizer with `capturable=True` for a GPU. Its output is
    `[{"loss": loss}]`, a tensor on the device.
    """

    def __init__(self) -> None:
        self.captures = True
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.count = 0  # steps of this size so far

    def __call__(self, engine: SupervisedTrainer, batch: Any) -> list[dict[str, Tensor]]:
        """Make a step with one batch."""
        image, target = engine.prepare_batch(batch, engine.state.device, engine.non_blocking)
        engine.network.train()
        make = self._captured if image.is_cuda and self.captures else step
        engine.state.output = [{"loss": make(engine, image, target)}]
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _captured(self, engine: SupervisedTrainer, image: Tensor, target: Any) -> Tensor:
        inputs = [image, *_tensors(target)]
        if [tensor.shape for tensor in inputs] != [tensor.shape for tensor in self.inputs]:
            self.graph, self.count = None, 0  # the memory of the other size is free again
            self.inputs = [tensor.clone() for tensor in inputs]
            self.target = _like(target, self.inputs[1:])
        for own, new in zip(self.inputs, inputs, strict=True):
            own.copy_(new)
        self.count += 1
        if self.graph is None and self.count > _FIRST:
            self._capture(engine)
        if self.graph is None:
            return self._beside(engine)
        self.rate.fill_(float(engine.optimizer.param_groups[0]["lr"]))
        self.graph.replay()
        return self.loss

    def _beside(self, engine: SupervisedTrainer) -> Tensor:
        """A step that is not captured, on a stream of its own, as one that will be captured."""
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
                group["lr"] = self.rate  # read anew by every replay
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
    """Forward, loss, backward, optimizer; the loss without its graph."""
    # None instead of zeros: the first gradient is stored, not added.
    engine.optimizer.zero_grad(set_to_none=True)
    fields = engine.inferer(image, engine.network)
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    loss = engine.loss_function(fields, target)
    engine.fire_event(IterationEvents.LOSS_COMPLETED)
    loss.backward()
    engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
    engine.optimizer.step()
    return loss.detach()


def _tensors(target: Any) -> list[Tensor]:
    return list(target) if isinstance(target, tuple) else [target]


def _like(target: Any, tensors: list[Tensor]) -> Any:
    return tuple(tensors) if isinstance(target, tuple) else tensors[0]
