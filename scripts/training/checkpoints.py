# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a training: files are complete or absent, and are read without unpickling objects."""

import logging
import math
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn

from scripts.io import image_files, load_weights, outline_sha256, read_checkpoint, whole_file
from scripts.runtime import InputError, rank

logger = logging.getLogger(__name__)


class RandomState:
    """State of Python's, NumPy's and torch's random generators, for a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Read the states."""
        numpy_state = np.random.get_state(legacy=False)
        return {
            "python": random.getstate(),
            # The key as a tensor, because arrays cannot be read without unpickling.
            "numpy": {
                **numpy_state,
                "state": {**numpy_state["state"], "key": torch.from_numpy(numpy_state["state"]["key"])},
            },
            "torch": torch.get_rng_state(),
            # Only of this process's GPU; reading those of other GPUs would allocate memory there.
            "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the states; that of a GPU only if there was one and is one now."""
        random.setstate(state["python"])
        numpy_state = state["numpy"]
        np.random.set_state(
            {**numpy_state, "state": {**numpy_state["state"], "key": numpy_state["state"]["key"].numpy()}}
        )
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"][0].cpu())


class LastCheckpoint:
    """Save the state of a training after every epoch, and restore it at the start.

    The checkpoint is also saved when a training ends inside an epoch (see `TimeLimit`). Attach this handler before
    those that read the trainer's state at the start.

    Args:
        path: checkpoint file.
        objects: objects by name, each with `state_dict` and `load_state_dict`. The sampler belongs to them, since it
            knows the rest of an unfinished epoch. Epoch, iteration and random state are added to them.
        resume: whether the checkpoint is restored when the training starts.
        data: paths of the scans of training and validation, nested in any way. A training on other scans is not
            resumed: the pairs of an unfinished epoch would be others, and the best metric so far one of other pairs.
    """

    def __init__(
        self, path: str | os.PathLike[str], objects: Mapping[str, Any], resume: bool = False, data: Any = ()
    ) -> None:
        self.path = Path(path)
        self.objects = {**objects, "random_state": RandomState()}
        self.resume = resume
        self.data = outline_sha256(file for path in _paths(data) for file in image_files(path))

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if self.resume:
            engine.add_event_handler(Events.STARTED, self.restore)
        engine.add_event_handler(Events.STARTED, self._save_every_epoch)
        engine.add_event_handler(Events.TERMINATE, self.save_inside_epoch)

    def _save_every_epoch(self, engine: Engine) -> None:
        # Added at the start, and so after all other handlers, whose changes at the end of an epoch it has to save. A
        # trainer may start more than once.
        if not engine.has_event_handler(self.save, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        """Write the checkpoint after an epoch."""
        self._save(engine.state.epoch, engine.state.iteration)

    def save_inside_epoch(self, engine: Engine) -> None:
        """Write the checkpoint inside an epoch; the epoch does not count as completed."""
        self._save(engine.state.epoch - 1, engine.state.iteration)

    def _save(self, epoch: int, iteration: int) -> None:
        states = {name: value.state_dict() for name, value in self.objects.items()}
        _write({**states, "epoch": epoch, "iteration": iteration, "data": self.data}, self.path)

    def restore(self, engine: Engine) -> None:
        """Restore the objects, epoch and iteration from the checkpoint.

        Raises:
            InputError: if the file is unreadable, does not fit the training, or all its epochs are done, or if the
                training was on other scans.
        """
        states = read_checkpoint(self.path)
        missing = sorted({"epoch", "iteration", *self.objects} - states.keys())
        if missing:
            raise InputError(f"{self.path}: not a training checkpoint, it lacks {', '.join(missing)}")
        if engine.state.max_epochs is not None and states["epoch"] >= engine.state.max_epochs:
            raise InputError(f"{self.path}: all {states['epoch']} epochs are done; add a larger --max_epochs")
        if states.get("data", self.data) != self.data:  # checkpoints of versions before 0.9 do not tell
            raise InputError(
                f"{self.path}: the training was on other scans, or on other files of them; resume it with those, or "
                "train anew from its model.pt: --weights, and another --output_dir"
            )
        for name, value in self.objects.items():
            if isinstance(value, nn.Module):
                load_weights(value, self.path, name)
            else:
                value.load_state_dict(states[name])
        engine.state.epoch, engine.state.iteration = states["epoch"], states["iteration"]
        logger.info("resumed from %s after epoch %d, step %d", self.path, states["epoch"], states["iteration"])


class BestModel:
    """Save the network's weights after each validation with the best key metric so far.

    Args:
        path: file of the weights.
        network: network that is validated.
    """

    def __init__(self, path: str | os.PathLike[str], network: nn.Module) -> None:
        self.path = Path(path)
        self.network = network
        self.best: float | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator with a key metric of which larger values are better."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Save the weights if the metric is the best one."""
        value = float(engine.state.metrics[engine.state.key_metric_name])
        # Without labels the metric is NaN; then the latest weights are saved.
        if self.best is None or math.isnan(self.best) or value > self.best:
            self.best = value
            # On the CPU, so that the file can also be read without a GPU.
            _write({name: value.cpu() for name, value in self.network.state_dict().items()}, self.path)

    def state_dict(self) -> dict[str, float | None]:
        """The best metric so far."""
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, float | None]) -> None:
        """Restore the best metric so far."""
        self.best = state["best"]


def _paths(nested: Any) -> Iterator[str | os.PathLike[str]]:
    """All paths in nested lists and dictionaries, in their order."""
    if isinstance(nested, str | os.PathLike):
        yield nested
    else:
        for item in nested.values() if isinstance(nested, Mapping) else nested:
            yield from _paths(item)


def _write(content: Any, path: Path) -> None:
    if rank() > 0:
        return  # processes that train together have the same weights and random state, so one file is enough
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            raise OSError("torch could not write it") from error
