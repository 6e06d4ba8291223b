# SPDX-License-Identifier: Apache-2.0
"""Start of an evaluation."""

import os

import torch

from scripts.io import check_folder
from scripts.runtime import start


def start_evaluation(output_dir: str | os.PathLike[str], device: torch.device | str) -> None:
    """Begin an evaluation, after a check that its tables can be written.

    Args:
        output_dir: folder for the tables; need not exist.
        device: device that will compute.

    Raises:
        InputError: as `runtime.start`, or if `output_dir` cannot be written to.
    """
    start(device=device)
    check_folder(output_dir)
