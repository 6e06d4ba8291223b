# SPDX-License-Identifier: Apache-2.0
"""Warping against analytic images, against scipy and MONAI, and in every precision."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.blocks import Warp
from scipy.ndimage import map_coordinates
from torch import Tensor

from scripts.spatial import warp
from tests.spatial.examples import grid, random

LABEL_TYPES = [torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32]


def translation(shift: tuple[float, ...], *size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(shift, dtype=dtype).view(1, 3, 1, 1, 1).expand(1, 3, *size)


def shifted(image: Tensor, shift: tuple[int, ...]) -> Tensor:
    """The image at `x + shift`, and at the nearest voxel of the grid where that lies outside."""
    for axis, by in enumerate(shift, start=2):
        n = image.shape[axis]
        image = image.index_select(axis, (torch.arange(n) + by).clamp(0, n - 1))
    return image


def ramp(slopes: tuple[float, ...], positions: Tensor) -> Tensor:
    return torch.einsum("i,idhw->dhw", torch.tensor(slopes, dtype=positions.dtype), positions)[None, None] + 0.5


@given(slopes=st.tuples(*[st.floats(-3, 3)] * 3), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_linear_ramp_is_exact_inside(slopes: tuple[float, ...], seed: int) -> None:
    x = grid(5, 6, 7)
    # Positions anywhere in the grid's box, far from the voxels that sample them.
    last = torch.tensor([4.0, 5.0, 6.0], dtype=torch.float64).view(3, 1, 1, 1)
    positions = torch.rand(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(seed)) * last
    warped = warp(ramp(slopes, x), (positions - x)[None])
    torch.testing.assert_close(warped, ramp(slopes, positions), rtol=0, atol=1e-12)


def test_channel_of_the_field_moves_along_its_own_axis() -> None:
    x = grid(4, 6, 9)
    for axis in range(3):
        field = torch.zeros(1, 3, 4, 6, 9, dtype=torch.float64)
        field[:, axis] = 0.25
        for other in range(3):
            moved = warp(x[None, other : other + 1], field)[0, 0] - x[other]
            inside = moved.narrow(axis, 0, x.shape[1 + axis] - 1)
            expected = torch.full_like(inside, 0.25 if axis == other else 0.0)
            torch.testing.assert_close(inside, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@given(shift=st.tuples(*[st.integers(-9, 9)] * 3))
@settings(max_examples=25, deadline=None)
def test_whole_voxels_shift_and_the_border_is_repeated(mode: str, shift: tuple[int, ...]) -> None:
    image = random(0, 1, 2, 5, 4, 6)
    warped = warp(image, translation(shift, 5, 4, 6, dtype=torch.float64), mode)
    torch.testing.assert_close(warped, shifted(image, shift), rtol=0, atol=0 if mode == "nearest" else 1e-12)


@given(size=st.tuples(*[st.integers(1, 40)] * 3))
@settings(max_examples=25, deadline=None)
def test_zero_field_is_the_identity(size: tuple[int, ...]) -> None:
    image = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1))
    field = torch.zeros(1, 3, *size)
    torch.testing.assert_close(warp(image, field), image, rtol=0, atol=1e-5)
    assert torch.equal(warp(image, field, "nearest"), image)


@pytest.mark.parametrize("dtype", LABEL_TYPES, ids=str)
@pytest.mark.parametrize("shift", [(0, 0, 0), (2, -3, 1)])
def test_nearest_keeps_labels_exactly(dtype: torch.dtype, shift: tuple[int, ...]) -> None:
    top = min(2**24, torch.iinfo(dtype).max if not dtype.is_floating_point else 2**24)
    labels = torch.randint(top - 200, top, (1, 1, 7, 8, 9), generator=torch.Generator().manual_seed(0)) + 1
    labels = labels.to(dtype)
    warped = warp(labels, translation(shift, 7, 8, 9), "nearest")
    assert warped.dtype == dtype
    assert torch.equal(warped, shifted(labels, shift))
    assert labels.max() == top


@given(seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_nearest_gives_only_labels_of_the_image(seed: int) -> None:
    labels = torch.tensor([0, 3, 700, 2**24])[
        torch.randint(4, (1, 1, 6, 5, 7), generator=torch.Generator().manual_seed(seed))
    ]
    warped = warp(labels, random(seed, 1, 3, 6, 5, 7).float() * 4, "nearest")
    assert set(warped.unique().tolist()) <= set(labels.unique().tolist())


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 9])
def test_huge_displacements_give_the_border_and_nan_stays_local(channels: int) -> None:
    image, field = random(2, 1, channels, 5, 4, 6), torch.zeros(1, 3, 5, 4, 6, dtype=torch.float64)
    field[0, :, 0, 0, 0] = torch.tensor([1e30, -1e30, torch.inf])
    field[0, 1, 2, 2, 2] = torch.nan
    warped = warp(image, field)
    assert torch.equal(warped[..., 0, 0, 0], image[..., 4, 0, 5])
    others = torch.ones(5, 4, 6, dtype=torch.bool)
    others[0, 0, 0] = others[2, 2, 2] = False
    torch.testing.assert_close(warped[..., others], image[..., others])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_image_has_float32_coordinates(dtype: torch.dtype, axis: int) -> None:
    # Whole numbers up to 256 are exact in both; positions in that precision would be up to a voxel off.
    size = [2, 2, 2]
    size[axis] = 256
    image = grid(*size)[axis].to(dtype)[None, None]
    shift = [0.0, 0.0, 0.0]
    shift[axis] = 3.0
    warped = warp(image, translation(tuple(shift), *size))
    assert warped.dtype == dtype
    assert torch.equal(warped.float(), (grid(*size)[axis] + 3).clamp(max=255).float()[None, None])


def test_float32_coordinates_are_right_to_a_ten_thousandth_of_a_voxel() -> None:
    size = (256, 3, 3)
    field = random(2, 1, 3, *size).float() * 20
    warped = warp(grid(*size)[:1][None].float(), field)
    expected = (grid(*size)[0] + field[:, 0].double()).clamp(0, 255)[None]
    torch.testing.assert_close(warped.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("mode", "order"), [("linear", 1), ("nearest", 0)])
@pytest.mark.parametrize("size", [(6, 7, 8), (1, 5, 4), (3, 1, 1)])
def test_agrees_with_scipy(mode: str, order: int, size: tuple[int, ...]) -> None:
    image, field = random(3, 2, 2, *size), 3 * random(4, 2, 3, *size)
    positions = field.numpy() + grid(*size).numpy()
    assert (positions < 0).any() and (positions[:, 0] > size[0]).any()
    expected = np.stack(
        [
            [map_coordinates(channel, at, order=order, mode="nearest") for channel in channels]
            for channels, at in zip(image.numpy(), positions, strict=True)
        ]
    )
    np.testing.assert_allclose(warp(image, field, mode).numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("mode", "monai_mode"), [("linear", "bilinear"), ("nearest", "nearest")])
def test_agrees_with_monai(mode: str, monai_mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns that it uses torch's grid_sample
        reference = Warp(monai_mode, "border")
    image, field = random(5, 2, 3, 11, 9, 10).float(), 3 * random(6, 2, 3, 11, 9, 10).float()
    torch.testing.assert_close(warp(image, field, mode), reference(image, field), rtol=0, atol=1e-4)


def test_linear_warp_of_integers_has_the_dtype_of_the_field() -> None:
    image = torch.arange(4, dtype=torch.int16).view(1, 1, 4, 1, 1)
    for dtype in (torch.float32, torch.float64):
        warped = warp(image, translation((0.5, 0, 0), 4, 1, 1, dtype=dtype))
        expected = torch.tensor([0.5, 1.5, 2.5, 3.0], dtype=dtype).view(1, 1, 4, 1, 1)
        torch.testing.assert_close(warped, expected)


def test_items_of_a_batch_and_channels_are_independent() -> None:
    image, field = random(7, 2, 2, 4, 5, 6), random(8, 2, 3, 4, 5, 6)
    together = warp(image, field)
    for b in range(2):
        for c in range(2):
            assert torch.equal(together[b, c], warp(image[b : b + 1, c : c + 1], field[b : b + 1])[0, 0])


def test_gradient_is_right() -> None:
    # Between voxels, inside and outside the grid: linear interpolation has no derivative at voxels.
    size = (4, 3, 5)
    generator = torch.Generator().manual_seed(9)
    whole = torch.randint(-2, 6, (1, 3, *size), generator=generator)
    positions = whole + 0.2 + 0.6 * torch.rand((1, 3, *size), dtype=torch.float64, generator=generator)
    field = (positions - grid(*size)).requires_grad_()
    image = random(10, 1, 2, *size).requires_grad_()
    assert torch.autograd.gradcheck(warp, (image, field))


def test_scripted_is_the_same() -> None:
    scripted = torch.jit.script(warp)
    field = 2 * random(11, 1, 3, 4, 5, 6).float()
    for image in (random(12, 1, 2, 4, 5, 6).float(), torch.arange(240, dtype=torch.int32).view(1, 2, 4, 5, 6)):
        for mode in ("linear", "nearest"):
            warped = scripted(image, field, mode)
            assert warped.dtype == warp(image, field, mode).dtype
            assert torch.equal(warped, warp(image, field, mode))


@pytest.mark.parametrize(
    ("image", "field"),
    [
        ((1, 4, 4, 4), (1, 3, 4, 4, 4)),
        ((1, 1, 4, 4, 4), (3, 4, 4, 4)),
        ((1, 1, 4, 4, 4), (1, 2, 4, 4, 4)),
        ((2, 1, 4, 4, 4), (1, 3, 4, 4, 4)),
        ((1, 1, 4, 4, 5), (1, 3, 4, 4, 4)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(image: tuple, field: tuple) -> None:
    with pytest.raises(ValueError, match=r"image|field") as error:
        warp(torch.zeros(image), torch.zeros(field))
    assert str(list(image)) in str(error.value)
    assert str(list(field)) in str(error.value)


@pytest.mark.parametrize("mode", ["", "Linear", "bilinear", "cubic"])
def test_unknown_mode_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=f"linear or nearest, not {mode}"):
        warp(torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 3, 2, 2, 2), mode)
