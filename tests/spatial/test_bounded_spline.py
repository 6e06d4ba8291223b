# SPDX-License-Identifier: Apache-2.0
"""The B-spline of bounded coefficients, against a convolution."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv3d, pad

from scripts.spatial import bounded_spline
from tests.spatial.examples import off_grid


def plain_spline(coefficients: Tensor) -> Tensor:
    """The cubic B-spline at its knots by a convolution; beyond the border the outermost coefficients are repeated."""
    weights = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64) / 6
    kernel = torch.einsum("i,j,k->ijk", weights, weights, weights)[None, None]
    around = pad(coefficients, [1] * 6, mode="replicate")
    return conv3d(around, kernel.repeat(3, 1, 1, 1, 1), groups=3)


@pytest.mark.parametrize("size", [(3, 4, 5), (1, 2, 6)])
def test_gradient_is_right(size: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(bounded_spline, 2 * off_grid(25, *size))


def test_values_and_gradient_are_those_of_a_convolution() -> None:
    size = (5, 1, 4)
    coefficients, gradient = 2 * off_grid(26, *size).detach(), off_grid(27, *size).detach()
    found, expected = (coefficients.clone().requires_grad_() for _ in range(2))
    bounded_spline(found).backward(gradient)
    plain_spline(expected.tanh()).backward(gradient)
    torch.testing.assert_close(found.grad, expected.grad, rtol=0, atol=1e-14)
    torch.testing.assert_close(bounded_spline(found), plain_spline(coefficients.tanh()), rtol=0, atol=1e-14)
