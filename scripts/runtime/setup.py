"""What a process does before anything is loaded: seeds, memory, precision."""

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import torch
from monai.utils import set_determinism

from scripts.runtime.errors import InputError, report_error

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


def start(seed: int | None = None) -> None:
    """Begin a workflow: seed everything, keep freed memory, answer bad input with a line on stderr and an exit code.

    Args:
        seed: for Python, NumPy and torch, None leaves them as they are. On the CPU it determines every bit.
    """
    sys.excepthook = report_error
    keep_memory()
    if seed is not None:
        set_determinism(seed)
        # On a GPU the gradient of a warp adds up in an order of its own, so slower convolutions would gain nothing.
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True


def flag(value: bool | str) -> bool:
    """A switch of the command line, where `--resume false` arrives as text.

    Raises:
        InputError: for anything but true and false.
    """
    known = {"true": True, "false": False}
    if str(value).lower() not in known:
        raise InputError(f"{value} is neither true nor false")
    return known[str(value).lower()]


def supports_bf16(device: torch.device | str) -> bool:
    """Whether a network gains from bf16 autocast there: on a GPU or a CPU that computes in it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported()
    # Older versions of torch cannot tell.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.device(device).type == "cpu" and any(capabilities.get(f"{unit}_bf16") for unit in ("avx512", "amx"))


def bundle_version() -> str:
    """The version of this bundle, as configs/metadata.json has it."""
    metadata = Path(__file__).parents[2] / "configs" / "metadata.json"
    return str(json.loads(metadata.read_text(encoding="utf-8"))["version"])


def keep_memory() -> None:
    """Have glibc keep the memory that is freed, for what comes next; does nothing where there is another C library.

    Otherwise it hands large blocks back at once, and every volume comes anew from the system, page by page: on the CPU
    that takes as long as computing with it does.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
