"""Correlation with its gradient; `test_msfb.py` has what it means."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from scripts.networks.correlation import (
    _correlation,
    _correlation_at_once,
    _weighted_at_once,
    local_correlation,
    swapped_correlation,
)

SIZES = [(3, 2, 4), (1, 3, 1)]


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gradient_of_local_correlation_is_right(size: tuple[int, ...]) -> None:
    images = [random(seed, 2, 3, *size).requires_grad_() for seed in (1, 2)]
    assert torch.autograd.gradcheck(local_correlation, images)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gradient_of_swapped_correlation_is_right(size: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(swapped_correlation, random(3, 1, 27, *size).requires_grad_())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d], ids=str)
def test_half_precision_is_summed_in_single_precision(layout: torch.memory_format) -> None:
    images = [random(seed, 2, 64, 3, 4, 5).bfloat16().contiguous(memory_format=layout) for seed in (4, 5)]
    gradient = random(6, 2, 27, 3, 4, 5).bfloat16()

    def correlated(fixed: Tensor, moving: Tensor) -> tuple[Tensor, ...]:
        fixed, moving = fixed.detach().requires_grad_(), moving.detach().requires_grad_()
        products = local_correlation(fixed, moving)
        return products.detach(), *torch.autograd.grad(products, (fixed, moving), gradient.to(products.dtype))

    found, expected = correlated(*images), correlated(*(image.float() for image in images))
    assert {tensor.dtype for tensor in found} == {torch.bfloat16}
    # Each is rounded to half precision once; one image is divided by the channels before.
    assert_close([tensor.float() for tensor in found], list(expected), rtol=2**-7, atol=1e-2)


# Only a GPU computes them this way: without one nothing but the private functions themselves can be asked.


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_correlation_at_once_is_that_offset_by_offset(size: tuple[int, ...]) -> None:
    fixed, moving = random(7, 2, 3, *size), random(8, 2, 3, *size)
    assert_close(_correlation_at_once(fixed, moving), _correlation(fixed, moving), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_weighted_neighborhoods_are_the_gradient_of_the_correlation(size: tuple[int, ...]) -> None:
    fixed, moving = (random(seed, 2, 3, *size).requires_grad_() for seed in (9, 10))
    gradient = random(11, 2, 27, *size)
    expected = torch.autograd.grad(_correlation(fixed, moving), (fixed, moving), gradient)
    found = _weighted_at_once(gradient, moving), _weighted_at_once(swapped_correlation(gradient), fixed)
    assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gradients_on_a_gpu_are_those_on_a_cpu() -> None:
    images, gradient = [random(seed, 2, 3, 3, 2, 4) for seed in (12, 13)], random(14, 2, 27, 3, 2, 4)
    found = []
    for device in ("cpu", "cuda"):
        leaves = [image.to(device).requires_grad_() for image in images]
        gradients = torch.autograd.grad(local_correlation(*leaves), leaves, gradient.to(device))
        found.append([tensor.cpu() for tensor in gradients])
    assert_close(*found, rtol=0, atol=1e-12)
