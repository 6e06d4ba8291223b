"""Instance normalization as a GPU computes it; `test_msfb.py` and `test_layout.py` have the rest of the encoder."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from scripts.networks.encoder import InstanceNorm, _Normalized

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def norm_of(channels: int) -> InstanceNorm:
    norm = InstanceNorm(channels, affine=True)
    norm.weight.data, norm.bias.data = random(1, channels), random(2, channels)
    return norm


def normalized_with_gradients(norm: InstanceNorm, way, volumes: Tensor, gradient: Tensor) -> list[Tensor]:
    volumes = volumes.detach().requires_grad_()
    normalized = way(volumes)
    leaves = (volumes, norm.weight, norm.bias)
    return [normalized.detach(), *torch.autograd.grad(normalized, leaves, gradient.to(normalized.dtype))]


# Only a GPU computes it this way: without one nothing but the private class itself can be asked.


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("size", [(4, 5, 6), (1, 1, 2)], ids=str)
def test_normalized_and_its_gradients_are_those_of_torch(size: tuple[int, ...], layout: torch.memory_format) -> None:
    norm = norm_of(3)
    volumes, gradient = (random(seed, 2, 3, *size).contiguous(memory_format=layout) for seed in (3, 4))
    volumes = 2 * volumes + 1
    found = normalized_with_gradients(
        norm, lambda v: _Normalized.apply(v, norm.weight, norm.bias, norm.eps), volumes, gradient
    )
    expected = normalized_with_gradients(norm, norm, volumes, gradient)
    assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found[0].is_contiguous(memory_format=layout)


def test_normalized_half_precision_has_statistics_of_single_precision() -> None:
    norm, volumes, gradient = norm_of(3), random(5, 2, 3, 8, 9, 10) + 2, random(6, 2, 3, 8, 9, 10).bfloat16()
    volumes = volumes.bfloat16()
    found = normalized_with_gradients(
        norm, lambda v: _Normalized.apply(v, norm.weight, norm.bias, norm.eps), volumes, gradient
    )
    expected = normalized_with_gradients(norm, norm, volumes.float(), gradient.float())
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    assert_close([tensor.float() for tensor in found[:2]], expected[:2], rtol=2**-8, atol=1e-4)
    assert_close(found[2:], expected[2:], rtol=1e-4, atol=1e-3)
