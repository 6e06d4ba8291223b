# SPDX-License-Identifier: Apache-2.0
"""The processes of one run: those that torchrun has started and `join` has connected, or a single one.

Each has a rank from 0. Rank 0 prints and writes for all.
"""

import logging
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from ignite.distributed import sync

from scripts.runtime.errors import InputError, report_error

Items = TypeVar("Items", bound=Sequence[Any])


def rank() -> int:
    """Rank of this process, from 0."""
    return dist.get_rank() if _joined() else 0


def share(items: Items) -> Items:
    """This process's part of a sequence.

    The parts of all ranks, one after the other, are the sequence. Their lengths differ by at most 1, and that of rank 0
    is the longest. With fewer items than processes some parts are empty.
    """
    count, whole = dist.get_world_size() if _joined() else 1, len(items)
    start, end = (-(-whole * index // count) for index in (rank(), rank() + 1))
    return items[start:end]  # type: ignore[return-value]  # a slice has the type of its sequence


def gathered(items: list[Any]) -> list[Any]:
    """The items of all processes, in the order of their ranks. Every process must call it equally often."""
    if not _joined():
        return items
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def wait_for_others() -> None:
    """Wait until all processes have called this."""
    gathered([])


def own_device() -> torch.device:
    """The GPU of this process, by its number among torchrun's processes on this machine; the CPU if there is no GPU.

    Raises:
        InputError: if there are more processes than GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    index, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if index >= count:
        raise InputError(f"more processes than GPUs; give torchrun --nproc_per_node={count}")
    return torch.device("cuda", index)


def join(device: torch.device | str, backend: str | None = None, hours: float = 0.5) -> None:
    """Connect to the other processes that torchrun has started.

    Args:
        device: device of this process.
        backend: backend of torch.distributed; by default nccl between GPUs, gloo between CPUs.
        hours: time that a process waits for the others before it fails, hours, above 0.

    Raises:
        InputError: if the process was not started by torchrun.
    """
    if "RANK" not in os.environ:
        raise InputError("a run of several processes is started by torchrun (see docs/multi_gpu.md)")
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(backend or ("nccl" if on_gpu else "gloo"), timeout=timedelta(hours=hours))
    sys.excepthook = report_error  # torch has wrapped it in a hook that prints only after it returns
    if "SLURM_JOB_ID" in os.environ:
        # ignite takes SLURM's number as the rank on this machine, but SLURM has started torchrun only.
        os.environ["SLURM_LOCALID"] = os.environ["LOCAL_RANK"]
    sync()  # a collective call that ignite makes at its first metric; processes without pairs have none
    if rank() > 0:
        logging.disable(logging.INFO)


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
