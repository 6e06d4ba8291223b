# SPDX-License-Identifier: Apache-2.0
"""Settings of a process before anything is loaded: seeds, memory, precision."""

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from monai.utils import set_determinism

from scripts.runtime.devices import usable_device
from scripts.runtime.errors import InputError, report_error
from scripts.runtime.options import check_options
from scripts.runtime.typed import is_bundle_command, misread_path
from scripts.signals import end_on_signals

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # constants of malloc.h


def start(seed: int | None = None, device: torch.device | str | None = None) -> None:
    """Begin a workflow: set the seeds, keep freed memory, report errors by `report_error`.

    In `python -m monai.bundle` a signal that ends the process also lets it tidy up, see `signals.end_on_signals`.

    Args:
        seed: seed for Python, NumPy and torch, from 0; None sets none. It makes results on the CPU reproducible.
        device: device that will compute; None if that is not known yet.

    Raises:
        InputError: if a path of the command line is not read as it was typed, or for a bad seed or device.
    """
    sys.excepthook = report_error
    keep_memory()
    # torchrun ends its processes itself, and one that waits for the others in torch would not notice the signal.
    if is_bundle_command() and "RANK" not in os.environ:
        end_on_signals()
    misread = misread_path()
    if misread is not None:
        raise InputError(misread)
    if device is not None:
        usable_device(device)
    if seed is not None:
        check_options({"seed": seed})
        set_determinism(seed)
        # On a GPU the gradient of a warp is never deterministic, so slower deterministic convolutions gain nothing.
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True


def flag(value: bool | str, option: str) -> bool:
    """A bool from the command line, where `--resume false` arrives as text.

    Args:
        value: True, False, or one of these words in upper or lower case.
        option: name of the option.

    Raises:
        InputError: if the value is something else.
    """
    check_options({option: value})
    return str(value).lower() == "true"


def supports_bf16(device: torch.device | str) -> bool:
    """Whether a device, a GPU or a CPU, has instructions for bfloat16, so that autocast to it is faster."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported()
    # Older versions of torch do not have this function.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.device(device).type == "cpu" and any(capabilities.get(f"{unit}_bf16") for unit in ("avx512", "amx"))


def bundle_version() -> str:
    """The version of this bundle, from configs/metadata.json."""
    metadata = Path(__file__).parents[2] / "configs" / "metadata.json"
    return str(json.loads(metadata.read_text(encoding="utf-8"))["version"])


def keep_memory() -> None:
    """Make glibc keep freed memory for later use; without effect with another C library.

    By default glibc returns large blocks to the system at once, and the system provides every new volume page by page.
    On the CPU that takes as long as the computation.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
