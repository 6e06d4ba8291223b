# SPDX-License-Identifier: Apache-2.0
"""The device that computes."""

import torch

from scripts.runtime.errors import InputError


def usable_device(device: torch.device | str | int) -> torch.device:
    """A device that torch can compute on here.

    Args:
        device: `cpu`, `cuda`, `cuda:1` and so on.

    Raises:
        InputError: if there is no such device, or nothing can be computed on it.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"--device {device}: no device of torch; give cpu, cuda, or cuda:1 and so on") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {device}: torch finds no GPU; give --device cpu")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"--device {device}: torch finds {count} GPUs, of which the last is cuda:{count - 1}")
    try:
        torch.zeros(1, device=found).cpu()
    except (AssertionError, ImportError, RuntimeError) as error:
        raise InputError(f"--device {device}: torch cannot compute on it here; give --device cpu") from error
    return found
