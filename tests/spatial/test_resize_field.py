# SPDX-License-Identifier: Apache-2.0
"""Fields resampled to another grid, against analytic fields."""

import pytest
import torch
from hypothesis import given, settings
from torch.nn.functional import avg_pool3d

from scripts.spatial import resize_field, warp
from tests.spatial.examples import (
    ANY_SHIFT,
    ANY_SIZE,
    RATES,
    centered_grid,
    grid,
    inner,
    linear,
    off_grid,
    smooth,
    translation,
)


@given(shift=ANY_SHIFT, size=ANY_SIZE)
@settings(max_examples=25, deadline=None)
def test_doubled_size_doubles_a_translation_exactly(shift: tuple, size: tuple) -> None:
    for dtype in (torch.float32, torch.float64):
        field = translation(shift, *size).to(dtype)
        doubled = [2 * n for n in size]
        assert torch.equal(resize_field(field, doubled), 2 * translation(shift, *doubled).to(dtype))


@given(shift=ANY_SHIFT, size=ANY_SIZE, new=ANY_SIZE)
@settings(max_examples=25, deadline=None)
def test_translation_scales_with_each_axis(shift: tuple, size: tuple, new: tuple) -> None:
    grown = tuple(s * m / n for s, n, m in zip(shift, size, new, strict=True))
    torch.testing.assert_close(resize_field(translation(shift, *size), list(new)), translation(grown, *new))


@pytest.mark.parametrize("new", [(16, 20, 24), (4, 5, 6), (11, 7, 30), (8, 10, 12)])
def test_affine_field_is_resampled_exactly_inside(new: tuple[int, ...]) -> None:
    size = (8, 10, 12)
    ratio = torch.tensor(new, dtype=torch.float64) / torch.tensor(size, dtype=torch.float64)
    resized = resize_field(linear(RATES, *size, offset=(1.0, -2.0, 3.0)), list(new))
    # The same map of the same box, in the new grid's voxels.
    offset = tuple((ratio * torch.tensor([1.0, -2.0, 3.0])).tolist())
    expected = linear(ratio.view(3, 1) * RATES / ratio, *new, offset=offset)
    # Beyond the outermost voxel centers of the old grid the field is constant.
    box = torch.tensor(size, dtype=torch.float64).view(3, 1, 1, 1)
    position = centered_grid(*new) / ratio.view(3, 1, 1, 1)
    inside = (position.abs() <= (box - 1) / 2 + 1e-9).all(0)
    assert inside.sum() > inside.numel() / 3
    torch.testing.assert_close(resized[..., inside], expected[..., inside], rtol=0, atol=1e-12)


def test_larger_and_back_returns_an_affine_field() -> None:
    field = linear(RATES, 8, 10, 12, offset=(1.0, -2.0, 3.0))
    back = resize_field(resize_field(field, [16, 20, 24]), [8, 10, 12])
    torch.testing.assert_close(inner(back, 1), inner(field, 1), rtol=0, atol=1e-12)


def test_larger_and_back_nearly_returns_a_smooth_field() -> None:
    field = smooth(0, 24, 20, 28)
    back = resize_field(resize_field(field, [48, 40, 56]), [24, 20, 28])
    torch.testing.assert_close(back, field, rtol=0, atol=0.1)


def test_same_size_changes_nothing() -> None:
    field = smooth(1, 5, 6, 7)
    torch.testing.assert_close(resize_field(field, [5, 6, 7]), field, rtol=0, atol=1e-14)


def test_single_voxel_is_a_translation_of_its_box() -> None:
    single = translation((0.5, -0.25, 1.0), 1, 1, 1)
    resized = resize_field(single, [4, 1, 6])
    torch.testing.assert_close(resized, translation((2.0, -0.25, 6.0), 4, 1, 6))
    torch.testing.assert_close(resize_field(resized, [1, 1, 1]), single)


def test_halved_field_moves_the_pooled_image() -> None:
    # Pooling and warping commute on affine images and fields, if the pyramid's grids are aligned.
    size, half = (16, 12, 20), (8, 6, 10)
    field = linear(RATES, *size, offset=(0.7, -1.1, 0.4))
    image = torch.einsum("i,idhw->dhw", torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), grid(*size))[None, None]
    pooled_after = avg_pool3d(warp(image, field), 2)
    pooled_before = warp(avg_pool3d(image, 2), resize_field(field, list(half)))
    torch.testing.assert_close(inner(pooled_before, 2), inner(pooled_after, 2), rtol=0, atol=1e-12)


def test_gradient_is_right() -> None:
    assert torch.autograd.gradcheck(lambda u: resize_field(u, [4, 3, 5]), off_grid(15, 2, 3, 4))
    assert torch.autograd.gradcheck(lambda u: resize_field(u, [2, 1, 3]), off_grid(16, 4, 3, 4))
