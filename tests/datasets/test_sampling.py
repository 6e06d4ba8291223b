# SPDX-License-Identifier: Apache-2.0
"""Random choice of the pairs of each epoch, its repetition and its share between processes."""

import pytest
import torch
from monai.data import DataLoader

from scripts.datasets.sampling import PairSampler


class RandomItems:
    """A dataset whose items are their index and a random number, as random transforms make them."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, torch.randint(2**31, ()).item()])


def test_no_index_is_drawn_twice_unless_necessary() -> None:
    assert sorted(PairSampler(range(30), 30)) == list(range(30))
    few = list(PairSampler(range(30), 7))
    assert len(set(few)) == len(few) == 7
    many = list(PairSampler(range(3), 50))
    assert len(many) == 50
    assert set(many) == {0, 1, 2}


def test_restored_generator_draws_the_same_indices_again() -> None:
    sampler = PairSampler(range(1000), 20)
    list(sampler)
    state = torch.get_rng_state()
    epochs = [list(sampler) for _ in range(3)]
    assert epochs[0] != epochs[1]
    torch.set_rng_state(state)
    assert [list(sampler) for _ in range(3)] == epochs


@pytest.mark.parametrize("stop", range(1, 5))
@pytest.mark.parametrize("batch_size", [1, 2])
def test_restored_sampler_continues_inside_an_epoch(stop: int, batch_size: int) -> None:
    def loader() -> tuple[PairSampler, DataLoader]:
        sampler = PairSampler(range(1000), 5 * batch_size)
        return sampler, DataLoader(RandomItems(), batch_size=batch_size, sampler=sampler, num_workers=0)

    sampler, batches = loader()
    torch.manual_seed(0)
    drawn, states = [], []
    for _ in range(2):
        for batch in batches:
            drawn.append(batch)
            states.append((sampler.state_dict(), torch.get_rng_state()))

    sampler, batches = loader()
    sampler_state, generator_state = states[stop - 1]
    sampler.load_state_dict(sampler_state)
    torch.set_rng_state(generator_state)
    rest = [*batches, *batches]  # the rest of this epoch, and the next one
    assert len(rest) == 10 - stop
    assert all(torch.equal(a, b) for a, b in zip(rest, drawn[stop:], strict=True))


def test_restored_samplers_of_two_processes_share_the_rest() -> None:
    torch.manual_seed(0)
    first = PairSampler(range(1000), 6, num_replicas=2, rank=0)
    items = iter(first)
    seen = [next(items)]
    left = first.state_dict()
    rests = []
    for rank in (0, 1):
        sampler = PairSampler(range(1000), 6, num_replicas=2, rank=rank)
        sampler.load_state_dict(left)
        rests.append(list(sampler))
    assert [*seen, *rests[0]] == [*seen, *items]
    assert len(rests[1]) == 2
    assert len({*seen, *rests[0], *rests[1]}) == 5


def test_no_samples_and_empty_datasets_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot draw"):
        PairSampler(range(3), 0)
    with pytest.raises(ValueError, match="cannot draw"):
        PairSampler([], 3)
