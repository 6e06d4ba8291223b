"""Checkpoints of a training: written whole or not at all, read without unpickling."""

import logging
import math
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn

from scripts.io import load_weights, whole_file
from scripts.io.weights import _read
from scripts.runtime import InputError, rank

logger = logging.getLogger(__name__)


class RandomState:
    """The state of all random generators, as an object of a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Collect the states of Python's, NumPy's and torch's generators."""
        numpy_state = np.random.get_state(legacy=False)
        return {
            "python": random.getstate(),
            # As a tensor, which is read back without unpickling.
            "numpy": {
                **numpy_state,
                "state": {**numpy_state["state"], "key": torch.from_numpy(numpy_state["state"]["key"])},
            },
            "torch": torch.get_rng_state(),
            # Of this process's GPU; to ask the others would take memory there.
            "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them; that of a GPU only where there is one, and was."""
        random.setstate(state["python"])
        numpy_state = state["numpy"]
        np.random.set_state(
            {**numpy_state, "state": {**numpy_state["state"], "key": numpy_state["state"]["key"].numpy()}}
        )
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"][0].cpu())


class LastCheckpoint:
    """Save everything that training needs to go on; restore it at the start.

    It is saved at the very end of every epoch, and where a training is ended before that (see `TimeLimit`). Attach it
    before the handlers that look at the trainer's state when it starts.

    Args:
        path: of the checkpoint.
        objects: by name, with `state_dict` and `load_state_dict`; the sampler is one, which knows what is left of an
            epoch; epoch and random state come by themselves.
        resume: whether to restore it when training starts.
    """

    def __init__(self, path: str | os.PathLike[str], objects: Mapping[str, Any], resume: bool = False) -> None:
        self.path = Path(path)
        self.objects = {**objects, "random_state": RandomState()}
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if self.resume:
            engine.add_event_handler(Events.STARTED, self.restore)
        engine.add_event_handler(Events.STARTED, self._save_every_epoch)
        engine.add_event_handler(Events.TERMINATE, self.save_inside_epoch)

    def _save_every_epoch(self, engine: Engine) -> None:
        # Added after all other handlers: at the end of an epoch it must see what they did. A trainer may start twice.
        if not engine.has_event_handler(self.save, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        """Write the checkpoint after an epoch."""
        self._save(engine.state.epoch, engine.state.iteration)

    def save_inside_epoch(self, engine: Engine) -> None:
        """Write the checkpoint while an epoch is not over, which does not count as one."""
        self._save(engine.state.epoch - 1, engine.state.iteration)

    def _save(self, epoch: int, iteration: int) -> None:
        states = {name: thing.state_dict() for name, thing in self.objects.items()}
        _write({**states, "epoch": epoch, "iteration": iteration}, self.path)

    def restore(self, engine: Engine) -> None:
        """Read the checkpoint.

        Raises:
            InputError: if it is unreadable, does not fit, or has nothing left to do.
        """
        states = _read(self.path)
        missing = sorted({"epoch", "iteration", *self.objects} - states.keys())
        if missing:
            raise InputError(f"{self.path}: not a training checkpoint, it lacks {', '.join(missing)}")
        if engine.state.max_epochs is not None and states["epoch"] >= engine.state.max_epochs:
            raise InputError(f"{self.path}: all {states['epoch']} epochs are done; add a larger --max_epochs")
        for name, thing in self.objects.items():
            if isinstance(thing, nn.Module):
                load_weights(thing, self.path, name)
            else:
                thing.load_state_dict(states[name])
        engine.state.epoch, engine.state.iteration = states["epoch"], states["iteration"]
        logger.info("resumed from %s after epoch %d, step %d", self.path, states["epoch"], states["iteration"])


class BestModel:
    """Save the network's weights whenever validation finds a better key metric than ever before.

    Args:
        path: of the weights.
        network: whose weights to save.
    """

    def __init__(self, path: str | os.PathLike[str], network: nn.Module) -> None:
        self.path = Path(path)
        self.network = network
        self.best: float | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator with a key metric."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Compare and save."""
        value = float(engine.state.metrics[engine.state.key_metric_name])
        # Without labels the metric is NaN, and the latest weights are the best known.
        if self.best is None or math.isnan(self.best) or value > self.best:
            self.best = value
            # On the CPU, so that the file opens where there is no GPU, too.
            _write({name: value.cpu() for name, value in self.network.state_dict().items()}, self.path)

    def state_dict(self) -> dict[str, float | None]:
        """The best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, float | None]) -> None:
        """Restore the best value so far."""
        self.best = state["best"]


def _write(content: Any, path: Path) -> None:
    if rank() > 0:
        return  # processes that train together have the same weights and random state
    with whole_file(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            raise OSError("torch could not write it") from error
