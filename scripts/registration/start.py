# SPDX-License-Identifier: Apache-2.0
"""The start of registrations."""

import os

import SimpleITK as sitk
import torch

from scripts.io import check_folder
from scripts.runtime import check_options, start


def start_registration(
    output_dir: str | os.PathLike[str], seed: int, threads: int | None, device: torch.device | str = "cpu"
) -> None:
    """Set seed and threads, after a check that the results can be written.

    Args:
        output_dir: folder for the results; need not exist.
        seed: seed for Python, NumPy and torch, from 0.
        threads: number of CPU threads of torch and SimpleITK, from 1; None leaves it to them.
        device: device that will compute.

    Raises:
        InputError: as `runtime.start`; if `output_dir` cannot be written to, or `threads` is not a whole number from 1.
    """
    start(seed, device)
    check_options({"threads": threads})
    check_folder(output_dir)
    if threads is not None:
        torch.set_num_threads(threads)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
