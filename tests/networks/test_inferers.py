# SPDX-License-Identifier: Apache-2.0
"""Pairs that lie farther apart than the network reaches are registered from half their size; others as before."""

import pytest
import torch
from torch import Tensor, nn

from scripts.networks import CascadeInferer, PaddedInferer
from scripts.spatial import warp

SIZE = (96, 40, 40)
REACH = 7.0  # voxels


class Shifting(nn.Module):
    """Finds the shift of a blob along the first axis up to `REACH`; counts how often it is asked, by size."""

    multiple = 8

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        self.asked.append(image.shape[2])
        field = torch.zeros(1, 3, *image.shape[2:])
        field[:, 0] = self.shift(image).clamp(-REACH, REACH)
        return field

    def shift(self, image: Tensor) -> Tensor:
        places = torch.arange(image.shape[2], dtype=image.dtype)
        fixed, moving = ((profile * places).sum() / profile.sum() for profile in image[0].sum(dim=(2, 3)))
        return moving - fixed


class Wrong(Shifting):
    """Finds a large shift everywhere."""

    def shift(self, image: Tensor) -> Tensor:
        return torch.tensor(REACH)


@pytest.fixture
def blob() -> Tensor:
    """A textured ball, `(1, 1, D, H, W)`, in the middle of the first axis."""
    axes = torch.meshgrid(*[torch.arange(n) - n / 2 for n in SIZE], indexing="ij")
    inside = sum(axis.square() for axis in axes) < 12**2
    return (inside * (2 + sum(torch.sin(axis) for axis in axes)))[None, None]


def shifted_pair(blob: Tensor, shift: float) -> Tensor:
    field = torch.zeros(1, 3, *SIZE)
    field[:, 0] = -shift
    return torch.cat([blob, warp(blob, field)], dim=1)


@pytest.mark.parametrize("shift", [4.0, 6.5, 10.0, 13.0, 20.0])
def test_a_pair_is_registered_however_far_it_lies_apart(blob: Tensor, shift: float) -> None:
    """20 voxels are 10 at half the size, and 5 at a quarter."""
    field = CascadeInferer()(shifted_pair(blob, shift), Shifting())
    assert field.shape == (1, 3, *SIZE)
    assert field[0, 0][blob[0, 0] > 0].mean() == pytest.approx(shift, abs=0.2)


def test_a_near_pair_takes_one_pass_and_its_field_is_as_it_is(blob: Tensor) -> None:
    network, pair = Shifting(), shifted_pair(blob, 4)
    assert torch.equal(CascadeInferer()(pair, network), PaddedInferer()(pair, network))
    assert network.asked == [96, 96]


def test_the_first_field_stays_where_the_second_does_not_match_better(blob: Tensor) -> None:
    network, pair = Wrong(), shifted_pair(blob, 0)
    assert torch.equal(CascadeInferer()(pair, network), PaddedInferer()(pair, network))
    assert 48 in network.asked


def test_an_empty_fixed_image_takes_one_pass() -> None:
    network = Shifting()
    CascadeInferer()(torch.zeros(1, 2, *SIZE), network)
    assert network.asked == [96]
