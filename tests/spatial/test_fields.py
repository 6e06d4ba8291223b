# SPDX-License-Identifier: Apache-2.0
"""Resizing, composing, integrating and inverting fields, against analytic fields and finer computations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor
from torch.nn.functional import avg_pool3d, conv3d, pad

from scripts.spatial import bounded_spline, compose, integrate, invert, resize_field, warp

SIZES = st.tuples(*[st.integers(1, 9)] * 3)
SHIFTS = st.tuples(*[st.floats(-20, 20)] * 3)
# Some of everything: growth, shrinking, rotation, shear; small enough that the middle stays inside the grid.
RATES = torch.tensor([[0.10, -0.08, 0.02], [0.08, -0.05, 0.06], [0.00, -0.06, 0.04]], dtype=torch.float64)


def grid(*size: int) -> Tensor:
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij"))


def centered_grid(*size: int) -> Tensor:
    return grid(*size) - (torch.tensor(size, dtype=torch.float64).view(3, 1, 1, 1) - 1) / 2


def linear(matrix: Tensor, *size: int, offset: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Tensor:
    """`matrix (x - center) + offset` at every voxel."""
    field = torch.einsum("ij,jdhw->idhw", matrix, centered_grid(*size))
    return (field + torch.tensor(offset, dtype=torch.float64).view(3, 1, 1, 1))[None]


def constant(shift: tuple[float, ...], *size: int) -> Tensor:
    return torch.tensor(shift, dtype=torch.float64).view(1, 3, 1, 1, 1).expand(1, 3, *size).clone()


def smooth(seed: int, *size: int, amplitude: float = 2.0, sigma: float = 6.0) -> Tensor:
    """Random field of this greatest component, 0 at the grid's border."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(3, *size)), (0, sigma, sigma, sigma), mode="wrap")
    for axis, n in enumerate(size, start=1):
        fade = np.sin(np.pi * np.arange(n) / (n - 1)) ** 2
        field = field * fade.reshape([-1 if a == axis else 1 for a in range(4)])
    return torch.from_numpy(amplitude * field / np.abs(field).max())[None]


def inner(x: Tensor, margin: int) -> Tensor:
    return x[..., margin:-margin, margin:-margin, margin:-margin]


# --- resize_field -----------------------------------------------------------------------------------------------------


@given(shift=SHIFTS, size=SIZES)
@settings(max_examples=25, deadline=None)
def test_doubled_size_doubles_a_translation_exactly(shift: tuple[float, ...], size: tuple[int, ...]) -> None:
    for dtype in (torch.float32, torch.float64):
        field = constant(shift, *size).to(dtype)
        doubled = [2 * n for n in size]
        assert torch.equal(resize_field(field, doubled), 2 * constant(shift, *doubled).to(dtype))


@given(shift=SHIFTS, size=SIZES, new=SIZES)
@settings(max_examples=25, deadline=None)
def test_translation_grows_with_each_axis(
    shift: tuple[float, ...], size: tuple[int, ...], new: tuple[int, ...]
) -> None:
    grown = tuple(s * m / n for s, n, m in zip(shift, size, new, strict=True))
    torch.testing.assert_close(resize_field(constant(shift, *size), list(new)), constant(grown, *new))


@pytest.mark.parametrize("new", [(16, 20, 24), (4, 5, 6), (11, 7, 30), (8, 10, 12)])
def test_affine_field_is_resampled_exactly_inside(new: tuple[int, ...]) -> None:
    size = (8, 10, 12)
    ratio = torch.tensor(new, dtype=torch.float64) / torch.tensor(size, dtype=torch.float64)
    resized = resize_field(linear(RATES, *size, offset=(1.0, -2.0, 3.0)), list(new))
    # The same map of the same box, in the new grid's voxels.
    offset = tuple((ratio * torch.tensor([1.0, -2.0, 3.0])).tolist())
    expected = linear(ratio.view(3, 1) * RATES / ratio, *new, offset=offset)
    # Outside the outermost voxel centers of the old grid, its border value counts.
    box = torch.tensor(size, dtype=torch.float64).view(3, 1, 1, 1)
    position = centered_grid(*new) / ratio.view(3, 1, 1, 1)
    inside = (position.abs() <= (box - 1) / 2 + 1e-9).all(0)
    assert inside.sum() > inside.numel() / 3
    torch.testing.assert_close(resized[..., inside], expected[..., inside], rtol=0, atol=1e-12)


def test_resizing_there_and_back_returns_an_affine_field() -> None:
    field = linear(RATES, 8, 10, 12, offset=(1.0, -2.0, 3.0))
    back = resize_field(resize_field(field, [16, 20, 24]), [8, 10, 12])
    torch.testing.assert_close(inner(back, 1), inner(field, 1), rtol=0, atol=1e-12)


def test_resizing_there_and_back_nearly_returns_a_smooth_field() -> None:
    field = smooth(0, 24, 20, 28)
    back = resize_field(resize_field(field, [48, 40, 56]), [24, 20, 28])
    torch.testing.assert_close(back, field, rtol=0, atol=0.1)


def test_resizing_to_the_same_size_changes_nothing() -> None:
    field = smooth(1, 5, 6, 7)
    torch.testing.assert_close(resize_field(field, [5, 6, 7]), field, rtol=0, atol=1e-14)


def test_single_voxel_is_a_translation_of_its_box() -> None:
    single = constant((0.5, -0.25, 1.0), 1, 1, 1)
    resized = resize_field(single, [4, 1, 6])
    torch.testing.assert_close(resized, constant((2.0, -0.25, 6.0), 4, 1, 6))
    torch.testing.assert_close(resize_field(resized, [1, 1, 1]), single)


def test_halved_field_moves_the_pooled_image() -> None:
    # Pooling and warping commute on affine images and fields, if the pyramid's grids are aligned.
    size, half = (16, 12, 20), (8, 6, 10)
    field = linear(RATES, *size, offset=(0.7, -1.1, 0.4))
    image = torch.einsum("i,idhw->dhw", torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), grid(*size))[None, None]
    pooled_after = avg_pool3d(warp(image, field), 2)
    pooled_before = warp(avg_pool3d(image, 2), resize_field(field, list(half)))
    torch.testing.assert_close(inner(pooled_before, 2), inner(pooled_after, 2), rtol=0, atol=1e-12)


# --- compose ----------------------------------------------------------------------------------------------------------


def test_warping_by_the_composition_is_warping_by_outer_then_by_inner() -> None:
    size = (32, 28, 30)
    outer, inside = smooth(2, *size), smooth(3, *size)
    image = torch.from_numpy(gaussian_filter(np.random.default_rng(4).normal(size=(1, 1, *size)), (0, 0, 4, 4, 4)))
    image = image / image.abs().max()
    twice = warp(warp(image, outer), inside)
    once = warp(image, compose(outer, inside))
    other_order = warp(image, compose(inside, outer))
    # Two interpolations of the image blur it a little; the other order is another transform.
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


@given(first=SHIFTS, second=SHIFTS, size=SIZES)
@settings(max_examples=25, deadline=None)
def test_translations_add_up_to_the_border(
    first: tuple[float, ...], second: tuple[float, ...], size: tuple[int, ...]
) -> None:
    composed = compose(constant(first, *size), constant(second, *size))
    expected = constant(first, *size) + constant(second, *size)
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


# --- integrate --------------------------------------------------------------------------------------------------------


@given(shift=SHIFTS, size=SIZES)
@settings(max_examples=25, deadline=None)
def test_constant_velocity_translates_up_to_the_border(shift: tuple[float, ...], size: tuple[int, ...]) -> None:
    velocity = constant(shift, *size)
    torch.testing.assert_close(integrate(velocity), velocity, rtol=0, atol=1e-11)


def test_linear_velocity_flows_by_the_matrix_exponential() -> None:
    size = (21, 23, 22)
    one = torch.eye(3, dtype=torch.float64)
    velocity = linear(RATES, *size)
    exact = linear(torch.from_numpy(expm(RATES.numpy())) - one, *size)
    assert inner(exact, 5).abs().max() > 0.7
    torch.testing.assert_close(inner(integrate(velocity), 5), inner(exact, 5), rtol=0, atol=5e-4)
    # Linear interpolation of a linear field is exact: what is left is the discretisation of time.
    power = torch.linalg.matrix_power(one + RATES / 2**7, 2**7)
    torch.testing.assert_close(inner(integrate(velocity), 6), inner(linear(power - one, *size), 6), rtol=0, atol=1e-10)


def euler(velocity: Tensor, steps: int) -> Tensor:
    """Flow of every voxel, in small steps through the velocity itself."""
    start = grid(*velocity.shape[2:]).numpy()
    position = start.copy()
    for _ in range(steps):
        position += np.stack([map_coordinates(v, position, order=1, mode="nearest") for v in velocity[0]]) / steps
    return torch.from_numpy(position - start)[None]


def test_seven_squarings_match_many_small_steps() -> None:
    velocity = smooth(9, 30, 32, 28)
    reference = euler(velocity, 500)
    assert (reference - velocity).abs().max() > 0.2
    torch.testing.assert_close(integrate(velocity), reference, rtol=0, atol=0.04)
    assert (integrate(velocity) - reference).abs().mean() < 0.001


def test_opposite_velocity_flows_back() -> None:
    velocity = smooth(10, 30, 32, 28)
    there, back = integrate(velocity), integrate(-velocity)
    assert (there + back).abs().max() > 0.3
    assert compose(there, back).abs().max() < 0.06
    assert compose(back, there).abs().max() < 0.06


def test_time_1_is_twice_time_one_half() -> None:
    velocity = smooth(11, 10, 11, 12)
    half = integrate(velocity / 2, steps=6)
    assert torch.equal(integrate(velocity, steps=7), compose(half, half))


def test_no_squaring_is_the_velocity_itself() -> None:
    velocity = smooth(12, 6, 6, 6)
    assert torch.equal(integrate(velocity, steps=0), velocity)


# --- invert -----------------------------------------------------------------------------------------------------------


def test_inverse_cancels_from_both_sides() -> None:
    field = smooth(13, 30, 32, 28)
    inverse = invert(field)
    # The fixed point itself; on the other side both fields are interpolated.
    assert compose(field, inverse).abs().max() < 1e-6
    assert compose(inverse, field).abs().max() < 0.1
    assert (inverse + field).abs().max() > 0.3


@given(shift=SHIFTS, size=SIZES)
@settings(max_examples=25, deadline=None)
def test_inverse_of_a_translation_is_the_opposite_one(shift: tuple[float, ...], size: tuple[int, ...]) -> None:
    torch.testing.assert_close(invert(constant(shift, *size)), -constant(shift, *size), rtol=0, atol=1e-12)


def test_inverse_of_an_affine_field_is_its_inverse_matrix() -> None:
    size = (21, 23, 22)
    one = torch.eye(3, dtype=torch.float64)
    expected = linear(torch.linalg.inv(one + RATES) - one, *size)
    torch.testing.assert_close(inner(invert(linear(RATES, *size)), 5), inner(expected, 5), rtol=0, atol=1e-9)


def test_inverse_of_a_flow_is_the_flow_back() -> None:
    velocity = smooth(14, 30, 32, 28)
    torch.testing.assert_close(invert(integrate(velocity)), integrate(-velocity), rtol=0, atol=0.04)


# --- gradients, scripting, types --------------------------------------------------------------------------------------


def kink_free(seed: int, *size: int) -> Tensor:
    """Random field with components between 0.2 and 0.7 of either sign, for derivatives between voxels."""
    generator = torch.Generator().manual_seed(seed)
    magnitude = 0.2 + 0.5 * torch.rand(1, 3, *size, dtype=torch.float64, generator=generator)
    sign = 1 - 2 * torch.randint(2, magnitude.shape, generator=generator)
    return (magnitude * sign).requires_grad_()


def plain_spline(coefficients: Tensor) -> Tensor:
    """The cubic B-spline at its knots, by a convolution; beyond the border the outermost coefficients go on."""
    weights = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64) / 6
    kernel = torch.einsum("i,j,k->ijk", weights, weights, weights)[None, None]
    around = pad(coefficients, [1] * 6, mode="replicate")
    return conv3d(around, kernel.repeat(3, 1, 1, 1, 1), groups=3)


def test_gradient_of_resize_field_is_right() -> None:
    assert torch.autograd.gradcheck(lambda u: resize_field(u, [4, 3, 5]), kink_free(15, 2, 3, 4))
    assert torch.autograd.gradcheck(lambda u: resize_field(u, [2, 1, 3]), kink_free(16, 4, 3, 4))


def test_gradient_of_compose_is_right() -> None:
    assert torch.autograd.gradcheck(compose, (kink_free(17, 3, 4, 3), kink_free(18, 3, 4, 3)))


def test_gradient_of_integrate_is_right() -> None:
    assert torch.autograd.gradcheck(lambda v: integrate(v, steps=4), kink_free(19, 3, 4, 3))


def test_gradient_of_invert_is_right() -> None:
    assert torch.autograd.gradcheck(lambda u: invert(u, iterations=4), kink_free(20, 3, 3, 3))


@pytest.mark.parametrize("size", [(3, 4, 5), (1, 2, 6)])
def test_gradient_of_bounded_spline_is_right(size: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(bounded_spline, 2 * kink_free(25, *size))


def test_bounded_spline_and_its_gradient_are_those_of_a_convolution() -> None:
    size = (5, 1, 4)
    coefficients, gradient = 2 * kink_free(26, *size).detach(), kink_free(27, *size).detach()
    found, expected = (coefficients.clone().requires_grad_() for _ in range(2))
    bounded_spline(found).backward(gradient)
    plain_spline(expected.tanh()).backward(gradient)
    torch.testing.assert_close(found.grad, expected.grad, rtol=0, atol=1e-14)
    torch.testing.assert_close(bounded_spline(found), plain_spline(coefficients.tanh()), rtol=0, atol=1e-14)


def test_scripted_is_the_same() -> None:
    field, other = smooth(21, 7, 8, 6).float(), smooth(22, 7, 8, 6).float()
    assert torch.equal(torch.jit.script(resize_field)(field, [14, 4, 9]), resize_field(field, [14, 4, 9]))
    assert torch.equal(torch.jit.script(compose)(field, other), compose(field, other))
    assert torch.equal(torch.jit.script(integrate)(field), integrate(field))
    assert torch.equal(torch.jit.script(integrate)(field, 3), integrate(field, 3))
    assert torch.equal(torch.jit.script(invert)(field), invert(field))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_type_of_the_field_is_kept(dtype: torch.dtype) -> None:
    field = smooth(23, 4, 5, 6).to(dtype)
    for result in (resize_field(field, [2, 2, 2]), compose(field, field), integrate(field), invert(field)):
        assert result.dtype == dtype


def test_fields_that_come_in_are_left_as_they_were() -> None:
    field = smooth(24, 5, 5, 5)
    before = field.clone()
    resize_field(field, [3, 3, 3])
    compose(field, field)
    integrate(field, steps=0)
    integrate(field)
    invert(field)
    assert torch.equal(field, before)
