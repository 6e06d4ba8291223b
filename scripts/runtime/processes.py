"""The processes of one run: those that torchrun has started and `join` has joined, or the only one.

Each has a rank from 0; that of rank 0 speaks and writes for all."""

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
    """This process's number."""
    return dist.get_rank() if _joined() else 0


def share(items: Items) -> Items:
    """This process's part of a sequence: all ranks' parts in a row are the whole, their lengths differ by 1 at most.

    No part is longer than that of rank 0; with fewer items than processes, some are empty.
    """
    count, whole = dist.get_world_size() if _joined() else 1, len(items)
    start, end = (-(-whole * number // count) for number in (rank(), rank() + 1))
    return items[start:end]  # type: ignore[return-value]  # a part of a list is a list, of a range a range


def gathered(items: list[Any]) -> list[Any]:
    """The items of all processes, in the order of their ranks. All of them must call it, as many times."""
    if not _joined():
        return items
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def wait_for_others() -> None:
    """Go on when all processes are here."""
    gathered([])


def own_device() -> torch.device:
    """The GPU of this process, among those that torchrun has started on a machine; the CPU where there is no GPU.

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
    """Meet the processes that torchrun has started beside this one.

    Args:
        device: of this process.
        backend: of torch.distributed; by default nccl between GPUs, gloo between CPUs.
        hours: how long one waits for the others before it gives up.

    Raises:
        InputError: without torchrun.
    """
    if "RANK" not in os.environ:
        raise InputError("a run of several processes is started by torchrun (see docs/multi_gpu.md)")
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(backend or ("nccl" if on_gpu else "gloo"), timeout=timedelta(hours=hours))
    sys.excepthook = report_error  # torch has put its own around it, which waits for what the hook prints and returns
    if "SLURM_JOB_ID" in os.environ:
        # What ignite takes for the number on this machine; but SLURM knows of one process, torchrun.
        os.environ["SLURM_LOCALID"] = os.environ["LOCAL_RANK"]
    sync()  # ignite asks the others before its first metric, so all do it here
    if rank() > 0:
        logging.disable(logging.INFO)


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
