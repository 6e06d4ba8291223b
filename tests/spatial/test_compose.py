# SPDX-License-Identifier: Apache-2.0
"""Composition of fields, against analytic fields."""

import numpy as np
import torch
from hypothesis import given, settings
from scipy.ndimage import gaussian_filter

from scripts.spatial import compose, warp
from tests.spatial.examples import ANY_SHIFT, ANY_SIZE, RATES, inner, linear, off_grid, smooth, translation


def test_warp_by_the_composition_is_warp_by_outer_then_inner() -> None:
    size = (32, 28, 30)
    outer, inside = smooth(2, *size), smooth(3, *size)
    image = torch.from_numpy(gaussian_filter(np.random.default_rng(4).normal(size=(1, 1, *size)), (0, 0, 4, 4, 4)))
    image = image / image.abs().max()
    twice = warp(warp(image, outer), inside)
    once = warp(image, compose(outer, inside))
    other_order = warp(image, compose(inside, outer))
    # Two interpolations smooth the image slightly; the other order is another transform.
    assert (once - twice).abs().max() < 0.015
    assert (other_order - twice).abs().max() > 0.045


def test_affine_fields_compose_like_matrices() -> None:
    size = (15, 17, 16)
    outer, inside = RATES, 0.6 * RATES.T
    composed = compose(
        linear(outer, *size, offset=(0.5, -1.0, 0.25)),
        linear(inside, *size, offset=(-0.75, 0.5, 1.0)),
    )
    one = torch.eye(3, dtype=torch.float64)
    offset = torch.tensor([0.5, -1.0, 0.25]) + (one + outer) @ torch.tensor([-0.75, 0.5, 1.0], dtype=torch.float64)
    expected = linear((one + outer) @ (one + inside) - one, *size, offset=tuple(offset.tolist()))
    torch.testing.assert_close(inner(composed, 3), inner(expected, 3), rtol=0, atol=1e-12)


@given(first=ANY_SHIFT, second=ANY_SHIFT, size=ANY_SIZE)
@settings(max_examples=25, deadline=None)
def test_translations_add_up_to_the_border(first: tuple, second: tuple, size: tuple) -> None:
    composed = compose(translation(first, *size), translation(second, *size))
    expected = translation(first, *size) + translation(second, *size)
    torch.testing.assert_close(composed, expected, rtol=0, atol=1e-12)


def test_zero_field_is_neutral() -> None:
    field = smooth(5, 8, 9, 10)
    zero = torch.zeros_like(field)
    torch.testing.assert_close(compose(field, zero), field, rtol=0, atol=1e-12)
    assert torch.equal(compose(zero, field), field)


def test_composition_is_associative_to_interpolation() -> None:
    a, b, c = (smooth(seed, 28, 30, 26) for seed in (6, 7, 8))
    left, right = compose(compose(a, b), c), compose(a, compose(b, c))
    assert (left - right).abs().max() < 0.05
    assert (left - (a + b + c)).abs().max() > 0.5


def test_gradient_is_right() -> None:
    assert torch.autograd.gradcheck(compose, (off_grid(17, 3, 4, 3), off_grid(18, 3, 4, 3)))
