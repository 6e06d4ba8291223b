# SPDX-License-Identifier: Apache-2.0
"""Time and memory of a block of code."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def timed(timings: dict[str, Any], name: str) -> Iterator[None]:
    """Measure the block inside: adds `{"seconds": s, "peak_memory_mb": m}` to `timings`.

    `peak_memory_mb` is the largest memory of the process within the block on Linux, elsewhere since the process began,
    in 2^20 bytes. With a GPU there is also `peak_gpu_memory_mb`, the largest memory that torch allocated on it.

    Args:
        timings: dictionary that the entry is added to.
        name: key of the entry.
    """
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    _reset_peak_memory()
    began = time.perf_counter()
    yield
    measured = {"seconds": time.perf_counter() - began, "peak_memory_mb": _peak_memory_mb()}
    if on_gpu:
        measured["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    timings[name] = measured


def _reset_peak_memory() -> None:
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # see proc(5)
    except OSError:
        pass


def _peak_memory_mb() -> float:
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        import resource  # Unix only

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
