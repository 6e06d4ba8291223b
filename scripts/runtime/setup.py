# SPDX-License-Identifier: Apache-2.0
"""Settings of a process before anything is loaded: seeds, memory, precision."""

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import torch
from monai.utils import set_determinism

from scripts.runtime.errors import InputError, report_error

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # constants of malloc.h


def start(seed: int | None = None) -> None:
    """Begin a workflow: set the seeds, keep freed memory, report errors by `report_error`.

    Args:
        seed: seed for Python, NumPy and torch, from 0; None sets none. It makes results on the CPU reproducible.
    """
    sys.excepthook = report_error
    keep_memory()
    if seed is not None:
        set_determinism(seed)
        # On a GPU the gradient of a warp is never deterministic, so slower deterministic convolutions gain nothing.
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True


def flag(value: bool | str) -> bool:
    """A bool from the command line, where `--resume false` arrives as text.

    Args:
        value: True, False, or one of these words in upper or lower case.

    Raises:
        InputError: if the value is something else.
    """
    known = {"true": True, "false": False}
    if str(value).lower() not in known:
        raise InputError(f"{value} is neither true nor false")
    return known[str(value).lower()]


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
