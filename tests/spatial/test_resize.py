# SPDX-License-Identifier: Apache-2.0
"""Resampling against torch's interpolate and its autograd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from scripts.spatial import resize

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_gradient(way, volume: Tensor, size: list[int], gradient: Tensor) -> list[Tensor]:
    volume = volume.detach().requires_grad_()
    resized = way(volume, size)
    return [resized.detach(), *torch.autograd.grad(resized, volume, gradient.to(resized.dtype))]


def torchs(volume: Tensor, size: list[int]) -> Tensor:
    return interpolate(volume, size=size, mode="trilinear", align_corners=False)


sizes = st.lists(st.integers(1, 9), min_size=3, max_size=3)


@given(shape=sizes, size=sizes, channels=st.integers(1, 5), layout=st.sampled_from(LAYOUTS))
@settings(max_examples=100, deadline=None)
def test_values_and_gradient_are_those_of_torch_for_any_sizes(
    shape: list[int], size: list[int], channels: int, layout: torch.memory_format
) -> None:
    volume = random(1, 2, channels, *shape).contiguous(memory_format=layout)
    found, expected = (with_gradient(way, volume, size, random(2, 2, channels, *size)) for way in (resize, torchs))
    assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-7), (torch.float32, 1e-5)], ids=str)
def test_large_volumes_of_either_layout_and_precision(
    dtype: torch.dtype, tolerance: float, layout: torch.memory_format
) -> None:
    # Worth several threads, and lines longer than are summed at a time.
    volume = random(3, 2, 8, 20, 24, 28).to(dtype).contiguous(memory_format=layout)
    gradient = random(4, 2, 8, 40, 48, 56).to(dtype)
    found, expected = (with_gradient(way, volume, [40, 48, 56], gradient) for way in (resize, torchs))
    assert_close(found, expected, rtol=tolerance, atol=tolerance)
    for volume in found:
        assert volume.dtype == dtype and volume.is_contiguous(memory_format=layout)


def test_without_a_gradient_it_is_torchs_to_the_bit() -> None:
    volume = random(5, 1, 3, 5, 6, 7).float()
    assert torch.equal(resize(volume, [10, 12, 9]), torchs(volume, [10, 12, 9]))
