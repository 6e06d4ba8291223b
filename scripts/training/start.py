# SPDX-License-Identifier: Apache-2.0
"""Start of a training."""

import logging
import os
import sys
from pathlib import Path

import torch

from scripts.environment import WAITING, sets_waiting
from scripts.io import check_folder
from scripts.runtime import InputError, start

logger = logging.getLogger(__name__)


def start_training(output_dir: str, resume: bool, seed: int, device: torch.device | str) -> None:
    """Prepare the process, and refuse to overwrite an earlier training.

    Args:
        output_dir: folder of checkpoints and logs; need not exist.
        resume: whether the training continues from the last checkpoint in this folder.
        seed: seed of the random generators of Python, NumPy and torch, from 0.
        device: device that will compute.

    Raises:
        InputError: as `runtime.start`; if there is a checkpoint without `resume` or none with it, or if `output_dir` is
            not a folder that can be written to.
    """
    start(seed, device)
    check_folder(output_dir)
    last = Path(output_dir) / "last.pt"
    if last.exists() and not resume:
        raise InputError(f"{last}: an earlier training is here; add --resume true or choose another --output_dir")
    if resume and not last.exists():
        raise InputError(f"{last}: no such checkpoint to resume from; check --output_dir")
    _warn_of_load()


def _warn_of_load() -> None:
    """Warn if other work slows down threads that wait actively for each other; on a GPU they hardly matter."""
    if sys.platform != "linux" or torch.cuda.is_available() or sets_waiting():
        return
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    if threads > 1 and threads + load > (os.cpu_count() or 1) + 0.5:
        ((name, value),) = WAITING.items()
        logger.warning(
            "other work keeps this machine busy (load %.1f), and %d threads that wait for each other make training "
            "several times slower; put %s=%s before the command (see docs/performance.md)",
            *(load, threads, name, value),
        )
