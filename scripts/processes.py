"""The processes of one run: those that torchrun has started and `scripts.workflows.join` has joined, or the only one.

Each has a rank from 0; that of rank 0 speaks and writes for all.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch.distributed as dist

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


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
