# SPDX-License-Identifier: Apache-2.0
"""Instance normalization and leaky ReLU against torch's, by compiled code and by the operations for a GPU."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import instance_norm, leaky_relu
from torch.testing import assert_close

from scripts.networks.normalization import InstanceNormGPU, RectifiedNorm

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-3}  # the gradients of two voxels nearly cancel


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def norm_of(channels: int) -> RectifiedNorm:
    norm = RectifiedNorm(channels, 0.2)
    norm.weight.data, norm.bias.data = random(1, channels), random(2, channels)
    return norm


def with_gradients(norm: RectifiedNorm, function: Callable, volumes: Tensor, gradient: Tensor) -> list[Tensor]:
    volumes = volumes.detach().requires_grad_()
    result = function(volumes)
    leaves = (volumes, norm.weight, norm.bias)
    return [result.detach(), *torch.autograd.grad(result, leaves, gradient.to(result.dtype))]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("size", [(9, 10, 11), (4, 5, 6), (1, 1, 2)], ids=str)
@pytest.mark.parametrize("channels", [3, 16])
def test_values_and_gradients_are_those_of_torch(channels: int, size: tuple, dtype: torch.dtype, layout) -> None:
    norm = norm_of(channels).to(dtype)
    volumes, gradient = (random(seed, 2, channels, *size).to(dtype).contiguous(memory_format=layout) for seed in (3, 4))
    volumes = 2 * volumes + 1
    found = with_gradients(norm, norm, volumes, gradient)
    expected = with_gradients(
        norm,
        lambda v: leaky_relu(instance_norm(v, weight=norm.weight, bias=norm.bias, eps=norm.eps), 0.2),
        volumes,
        gradient,
    )
    assert_close(found, expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])
    for volume in found[:2]:
        assert volume.is_contiguous(memory_format=layout)


def test_a_small_contrast_on_a_large_value_is_normalized_exactly() -> None:
    norm, pattern = norm_of(2), random(5, 1, 2, 8, 9, 10).contiguous(memory_format=torch.channels_last_3d)
    volumes = (1000 + pattern).requires_grad_()
    exact = volumes.detach().double()
    expected = leaky_relu(instance_norm(exact, weight=norm.weight.double(), bias=norm.bias.double()), 0.2)
    assert_close(norm(volumes).double(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_half_precision_has_statistics_of_single_precision(layout: torch.memory_format) -> None:
    norm = norm_of(3)
    volumes, gradient = (random(seed, 2, 3, 8, 9, 10).contiguous(memory_format=layout) for seed in (6, 7))
    volumes, gradient = (volumes + 2).bfloat16(), gradient.bfloat16()
    found = with_gradients(norm, norm, volumes, gradient)
    expected = with_gradients(norm, norm, volumes.float(), gradient.float())
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    # torch rounds between the two operations as well.
    assert_close([tensor.float() for tensor in found[:2]], expected[:2], rtol=2**-7, atol=0.01)
    assert_close(found[2:], expected[2:], rtol=0.01, atol=0.5)


def test_nan_stays_in_its_channel() -> None:
    volumes = random(8, 2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    volumes[1, 2, 0, 0, 0] = torch.nan
    result = norm_of(3)(volumes.bfloat16().requires_grad_())
    assert result[1, 2].isnan().all()
    assert result[0].isfinite().all() and result[1, :2].isfinite().all()


# --- the operations for a GPU, which run anywhere ---------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("size", [(4, 5, 6), (1, 1, 2)], ids=str)
def test_gpu_values_and_gradients_are_those_of_torch(size: tuple[int, ...], layout: torch.memory_format) -> None:
    norm = norm_of(3)
    volumes, gradient = (random(seed, 2, 3, *size).contiguous(memory_format=layout) for seed in (3, 4))
    volumes = 2 * volumes + 1
    found = with_gradients(
        norm, lambda v: InstanceNormGPU.apply(v, norm.weight, norm.bias, norm.eps), volumes, gradient
    )
    expected = with_gradients(norm, norm.normalized, volumes, gradient)
    assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found[0].is_contiguous(memory_format=layout)


def test_gpu_half_precision_has_statistics_of_single_precision() -> None:
    norm, volumes, gradient = norm_of(3), random(5, 2, 3, 8, 9, 10) + 2, random(6, 2, 3, 8, 9, 10).bfloat16()
    volumes = volumes.bfloat16()
    found = with_gradients(
        norm, lambda v: InstanceNormGPU.apply(v, norm.weight, norm.bias, norm.eps), volumes, gradient
    )
    expected = with_gradients(norm, norm.normalized, volumes.float(), gradient.float())
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    assert_close([tensor.float() for tensor in found[:2]], expected[:2], rtol=2**-8, atol=1e-4)
    assert_close(found[2:], expected[2:], rtol=1e-4, atol=1e-3)
