# SPDX-License-Identifier: Apache-2.0
"""Resampling against torch's interpolate and its autograd."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from scripts.spatial import resize
from tests.spatial.examples import random

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def with_gradient(function: Callable, volume: Tensor, size: list[int], gradient: Tensor) -> list[Tensor]:
    volume = volume.detach().requires_grad_()
    resized = function(volume, size)
    return [resized.detach(), *torch.autograd.grad(resized, volume, gradient.to(resized.dtype))]


def torch_resize(volume: Tensor, size: list[int]) -> Tensor:
    return interpolate(volume, size=size, mode="trilinear", align_corners=False)


sizes = st.lists(st.integers(1, 9), min_size=3, max_size=3)


@given(shape=sizes, size=sizes, channels=st.integers(1, 5), layout=st.sampled_from(LAYOUTS))
@settings(max_examples=100, deadline=None)
def test_values_and_gradient_are_those_of_torch(shape: list[int], size: list[int], channels: int, layout) -> None:
    volume = random(1, 2, channels, *shape).contiguous(memory_format=layout)
    found, expected = (
        with_gradient(function, volume, size, random(2, 2, channels, *size)) for function in (resize, torch_resize)
    )
    assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-7), (torch.float32, 1e-5)], ids=str)
def test_large_volumes_of_either_layout_and_precision(dtype: torch.dtype, tolerance: float, layout) -> None:
    # Large enough for several threads, with lines longer than one pass sums.
    volume = random(3, 2, 8, 20, 24, 28).to(dtype).contiguous(memory_format=layout)
    gradient = random(4, 2, 8, 40, 48, 56).to(dtype)
    found, expected = (with_gradient(function, volume, [40, 48, 56], gradient) for function in (resize, torch_resize))
    assert_close(found, expected, rtol=tolerance, atol=tolerance)
    for volume in found:
        assert volume.dtype == dtype and volume.is_contiguous(memory_format=layout)


def test_without_a_gradient_it_is_exactly_that_of_torch() -> None:
    volume = random(5, 1, 3, 5, 6, 7).float()
    assert torch.equal(resize(volume, [10, 12, 9]), torch_resize(volume, [10, 12, 9]))
