# SPDX-License-Identifier: Apache-2.0
"""Local correlation of features and its gradient."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from scripts.networks.correlation import correlate_windows, local_correlation, sum_windows, swapped_correlation

SIZES = [(3, 2, 4), (1, 3, 1)]


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_correlation_is_highest_at_the_shift_of_the_image() -> None:
    fixed = random(40, 1, 64, 8, 8, 8)
    moving = fixed.roll((1, 0, -1), dims=(2, 3, 4))
    inside = local_correlation(fixed, moving)[:, :, 1:-1, 1:-1, 1:-1]
    assert inside.shape[1] == 27
    # Offsets in the order of the array axes: (1, 0, -1) is number 2 * 9 + 1 * 3 + 0 = 21.
    assert (inside.argmax(dim=1) == 21).all()
    assert_close(inside[:, 21], fixed.square().mean(dim=1)[:, 1:-1, 1:-1, 1:-1])


def test_correlation_is_zero_beyond_the_border() -> None:
    ones = torch.ones(1, 4, 3, 3, 3)
    assert local_correlation(ones, ones)[0, :, 0, 0, 0].sum() == 8  # 2 * 2 * 2 neighbors inside
    assert local_correlation(ones, ones)[0, :, 1, 1, 1].sum() == 27


def test_swapped_correlation_is_that_of_the_swapped_pair() -> None:
    fixed, moving = random(43, 2, 4, 5, 3, 4), random(44, 2, 4, 5, 3, 4)
    expected = local_correlation(moving, fixed)
    assert_close(swapped_correlation(local_correlation(fixed, moving)), expected)


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

    def with_gradients(fixed: Tensor, moving: Tensor) -> tuple[Tensor, ...]:
        fixed, moving = fixed.detach().requires_grad_(), moving.detach().requires_grad_()
        products = local_correlation(fixed, moving)
        return products.detach(), *torch.autograd.grad(products, (fixed, moving), gradient.to(products.dtype))

    found, expected = with_gradients(*images), with_gradients(*(image.float() for image in images))
    assert {tensor.dtype for tensor in found} == {torch.bfloat16}
    # Each is rounded to half precision once; one image is divided by the channels before.
    assert_close([tensor.float() for tensor in found], list(expected), rtol=2**-7, atol=1e-2)


# --- the operations for a GPU, which run anywhere ---------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_correlation_of_windows_is_local_correlation(size: tuple[int, ...]) -> None:
    fixed, moving = random(7, 2, 3, *size), random(8, 2, 3, *size)
    # Sums over the three channels, not means.
    assert_close(correlate_windows(fixed, moving) / 3, local_correlation(fixed, moving), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sums_of_windows_are_the_gradients_of_local_correlation(size: tuple[int, ...]) -> None:
    fixed, moving = (random(seed, 2, 3, *size).requires_grad_() for seed in (9, 10))
    gradient = random(11, 2, 27, *size)
    expected = torch.autograd.grad(local_correlation(fixed, moving), (fixed, moving), gradient)
    found = sum_windows(gradient, moving) / 3, sum_windows(swapped_correlation(gradient), fixed) / 3
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
