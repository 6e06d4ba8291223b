"""What several processes share: nothing is lost, nothing is done twice, and random things differ."""

from collections.abc import Callable

import pytest
import torch
from monai.transforms import RandSpatialCropd

from scripts.datasets.sampling import PairSampler
from scripts.runtime import processes
from scripts.runtime.seeds import seed_from_torch


@pytest.fixture
def be_rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """`be_rank(1, 2)`: be the second one of two processes, as far as that takes no exchange."""

    def be(rank: int, count: int) -> None:
        monkeypatch.setattr(processes, "_joined", lambda: True)
        monkeypatch.setattr(processes.dist, "get_rank", lambda: rank)
        monkeypatch.setattr(processes.dist, "get_world_size", lambda: count)

    return be


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_in_a_row_are_the_whole_and_differ_by_one_at_most_that_of_rank_0_longest(
    be_rank: Callable, count: int
) -> None:
    for length in range(8):
        shares = []
        for rank in range(count):
            be_rank(rank, count)
            shares.append(processes.share(list(range(length))))
        assert [item for share in shares for item in share] == list(range(length))
        lengths = [len(share) for share in shares]
        assert max(lengths) - min(lengths) <= 1
        assert lengths[0] == max(lengths)


def test_the_only_process_has_it_all() -> None:
    assert processes.rank() == 0
    assert processes.share(range(3)) == range(3)
    assert processes.gathered([1, 2]) == [1, 2]


def drawn(num_samples: int, num_replicas: int) -> list[list[int]]:
    draws = []
    for rank in range(num_replicas):
        torch.manual_seed(0)
        draws.append(list(PairSampler(range(20), num_samples, num_replicas, rank)))
    return draws


@pytest.mark.parametrize("num_samples", [6, 30])
def test_processes_draw_together_what_one_draws_alone(num_samples: int) -> None:
    ((*alone,),) = drawn(num_samples, 1)
    shares = drawn(num_samples, 3)
    assert [item for turn in zip(*shares, strict=True) for item in turn] == alone


def test_each_process_draws_as_many_so_that_none_waits() -> None:
    shares = drawn(7, 3)
    assert [len(share) for share in shares] == [3, 3, 3]
    assert len(PairSampler(range(20), 7, 3, 2)) == 3
    assert len({item for share in shares for item in share}) == 9


def test_processes_crop_different_boxes_and_their_generators_stay_the_same(be_rank: Callable) -> None:
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
