"""The begin of registrations."""

import os

import SimpleITK as sitk
import torch

from scripts.io import check_folder
from scripts.runtime import InputError, start


def start_registration(output_dir: str | os.PathLike[str], seed: int, threads: int | None) -> None:
    """Begin registrations, unless their results could not be written.

    Args:
        output_dir: where results go; made if need be.
        seed: for Python, NumPy and torch.
        threads: of the CPU, for torch and SimpleITK; None leaves it to them.

    Raises:
        InputError: if `output_dir` cannot be written to, or `threads` is no number above 0.
    """
    start(seed)
    check_folder(output_dir)
    if threads is not None:
        if not str(threads).isdigit() or int(threads) < 1:
            raise InputError(f"--threads {threads}: want a number from 1")
        torch.set_num_threads(int(threads))
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(int(threads))
