# SPDX-License-Identifier: Apache-2.0
"""Several processes: the parts of a sequence, the samples that each draws, and the seeds of random transforms."""

from collections.abc import Callable

import pytest
import torch
from monai.transforms import RandSpatialCropd

from scripts.datasets.sampling import PairSampler
from scripts.runtime import processes
from scripts.runtime.seeds import seed_from_torch


@pytest.fixture
def be_rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """`be_rank(1, 2)`: rank 1 of 2 processes, for functions that exchange nothing between them."""

    def be(rank: int, count: int) -> None:
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: count)

    return be


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_parts_make_up_the_sequence_and_have_nearly_equal_lengths(be_rank: Callable, count: int) -> None:
    for length in range(8):
        parts = []
        for rank in range(count):
            be_rank(rank, count)
            parts.append(processes.share(list(range(length))))
        assert [item for part in parts for item in part] == list(range(length))
        lengths = [len(part) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert lengths[0] == max(lengths)


def test_a_single_process_has_all_items() -> None:
    assert processes.rank() == 0
    assert processes.share(range(3)) == range(3)
    assert processes.gathered([1, 2]) == [1, 2]


def drawn(num_samples: int, num_replicas: int) -> list[list[int]]:
    """Samples that each of several processes draws from 20, with one seed."""
    draws = []
    for rank in range(num_replicas):
        torch.manual_seed(0)
        draws.append(list(PairSampler(range(20), num_samples, num_replicas, rank)))
    return draws


@pytest.mark.parametrize("num_samples", [6, 30])
def test_processes_together_draw_the_same_as_one(num_samples: int) -> None:
    ((*alone,),) = drawn(num_samples, 1)
    parts = drawn(num_samples, 3)
    assert [item for turn in zip(*parts, strict=True) for item in turn] == alone


def test_each_process_draws_equally_many() -> None:
    # 7 samples by 3 processes: 3 each, all different.
    parts = drawn(7, 3)
    assert [len(part) for part in parts] == [3, 3, 3]
    assert len(PairSampler(range(20), 7, 3, 2)) == 3
    assert len({item for part in parts for item in part}) == 9


def test_processes_crop_differently_with_one_generator_state(be_rank: Callable) -> None:
    crop = RandSpatialCropd("image", [4, 4, 4], random_size=False)
    volume = torch.arange(32.0**3).view(1, 32, 32, 32)
    boxes, states = [], []
    for rank in (0, 1):
        be_rank(rank, 2)
        torch.manual_seed(0)
        found = []
        for _ in range(3):
            seed_from_torch(crop)
            found.append(crop({"image": volume})["image"][0, 0, 0, 0].item())
        boxes.append(found)
        states.append(torch.get_rng_state())
    assert len({*boxes[0], *boxes[1]}) == 6
    assert torch.equal(*states)
