# SPDX-License-Identifier: Apache-2.0
"""The smoothness penalty on fields whose derivatives are known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scripts.losses import SmoothnessLoss

penalty = SmoothnessLoss()


def grid(*size: int) -> Tensor:
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij"))


def random_field(seed: int, *size: int) -> Tensor:
    return torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(shift=st.tuples(*[st.floats(-50, 50, width=32)] * 3))
@settings(max_examples=25, deadline=None)
def test_translation_has_no_penalty(shift: tuple[float, ...]) -> None:
    assert penalty(torch.tensor(shift).view(1, 3, 1, 1, 1).expand(2, 3, 4, 5, 3)) == 0


@given(entries=st.lists(st.floats(-2, 2), min_size=9, max_size=9))
@settings(max_examples=25, deadline=None)
def test_penalty_of_a_linear_field_is_the_mean_square_of_its_matrix(entries: list[float]) -> None:
    matrix = torch.tensor(entries, dtype=torch.float64).view(3, 3)
    field = torch.einsum("ij,jdhw->idhw", matrix, grid(4, 5, 6))[None]
    torch.testing.assert_close(penalty(field), matrix.square().mean())


def test_checkerboard_is_penalized() -> None:
    # Its central differences are 0; each forward one is 2.
    field = ((-1.0) ** grid(4, 6, 5).sum(0)).expand(1, 3, 4, 6, 5)
    assert penalty(field) == 4


def test_penalty_is_the_mean_over_axes_of_squared_differences() -> None:
    field = random_field(0, 4, 5, 6)
    expected = sum(field.diff(dim=axis).square().mean() for axis in (2, 3, 4)) / 3
    torch.testing.assert_close(penalty(field), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axis_of_one_voxel_adds_nothing(axis: int) -> None:
    size = [4, 5, 6]
    size[axis] = 1
    field = random_field(1, *size).requires_grad_()
    others = [2 + other for other in range(3) if other != axis]
    expected = sum(field.diff(dim=other).square().mean() for other in others) / 3
    torch.testing.assert_close(penalty(field), expected)
    penalty(field).backward()
    assert field.grad.isfinite().all()


def test_single_voxel_has_no_penalty() -> None:
    field = torch.ones(1, 3, 1, 1, 1, dtype=torch.float64)
    assert torch.equal(penalty(field), torch.zeros((), dtype=torch.float64))


@given(scale=st.floats(-8, 8))
@settings(max_examples=25, deadline=None)
def test_penalty_grows_with_the_square_of_the_field(scale: float) -> None:
    field = random_field(2, 3, 4, 5)
    torch.testing.assert_close(penalty(scale * field), scale**2 * penalty(field))


def test_gradient_is_right() -> None:
    assert torch.autograd.gradcheck(penalty, random_field(3, 3, 4, 2).requires_grad_())
