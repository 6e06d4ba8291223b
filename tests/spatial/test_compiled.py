# SPDX-License-Identifier: Apache-2.0
"""Compiled warp and integration with their gradients, against torch's grid_sample and its autograd."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from scripts.kernels import library
from scripts.spatial import integrate, warp
from tests.spatial.examples import PLACES, SIZES, field_to, plain_warp, random, warped_with_gradients

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-4}

needs_library = pytest.mark.skipif(library() is None, reason="there is no compiled code")


@pytest.fixture
def threads() -> Iterator[None]:
    """Three threads, more than small volumes use."""
    before = torch.get_num_threads()
    yield torch.set_num_threads(3)
    torch.set_num_threads(before)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 16, 17])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients_are_those_of_grid_sample(size: tuple, place: str, dtype, channels: int, layout) -> None:
    field = field_to(place, *size).to(dtype)
    image, gradient = (random(seed, 2, channels, *size).to(dtype).contiguous(memory_format=layout) for seed in (1, 2))
    found, expected = (warped_with_gradients(function, image, field, gradient) for function in (warp, plain_warp))
    assert_close(found, expected, rtol=0, atol=TOLERANCES[dtype])


@pytest.mark.parametrize("length", [0.5, 9, 90])
def test_threads_give_the_same_at_the_borders_of_slabs(threads: None, length: float) -> None:
    # Large enough for three threads; with long displacements each of them adds to the planes of all.
    size = (33, 40, 50)
    image, gradient = random(3, 2, 3, *size), random(4, 2, 3, *size)
    field = length * random(5, 2, 3, *size)
    found, expected = (warped_with_gradients(function, image, field, gradient) for function in (warp, plain_warp))
    assert_close(found, expected, rtol=0, atol=1e-9)


def test_positions_inside_the_border_only_have_a_gradient() -> None:
    image, gradient = random(3, 2, 16, 5, 3, 9), random(4, 2, 16, 5, 3, 9)
    slopes = {
        place: warped_with_gradients(warp, image, field_to(place, 5, 3, 9), gradient)[2]
        for place in ("inside", "border", "outside")
    }
    assert slopes["inside"].all()
    assert not slopes["border"].any() and not slopes["outside"].any()


@needs_library
def test_huge_displacements_give_the_border_and_nan_stays_local() -> None:
    image, field = random(2, 1, 1, 5, 4, 6), torch.zeros(1, 3, 5, 4, 6, dtype=torch.float64)
    field[0, :, 0, 0, 0] = torch.tensor([1e30, -1e30, torch.inf])
    field[0, 1, 2, 2, 2] = torch.nan
    warped = warp(image, field.requires_grad_()).detach()
    assert torch.equal(warped[..., 0, 0, 0], image[..., 4, 0, 5])
    assert warped[..., 2, 2, 2].isnan()
    others = torch.ones(5, 4, 6, dtype=torch.bool)
    others[0, 0, 0] = others[2, 2, 2] = False
    assert_close(warped[..., others], image[..., others])


@needs_library
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("gradient_layout", LAYOUTS, ids=str)
def test_layout_of_result_and_gradient_is_that_of_the_image(layout, gradient_layout) -> None:
    image = random(5, 2, 16, 4, 5, 6).contiguous(memory_format=layout)
    gradient = random(6, 2, 16, 4, 5, 6).contiguous(memory_format=gradient_layout)
    warped, image_gradient, _ = warped_with_gradients(warp, image, field_to("all", 4, 5, 6), gradient)
    for volume in (warped, image_gradient):
        assert volume.stride() == image.stride()


@pytest.mark.parametrize("channels", [2, 16])
def test_half_precision_image_has_gradients_of_float32_coordinates(channels: int) -> None:
    # As in training under autocast; the gradient is rounded once, at the end.
    size = (5, 3, 9)
    image, field = random(9, 2, channels, *size).bfloat16(), field_to("all", *size).float()
    gradient = random(10, 2, channels, *size).bfloat16()
    found = warped_with_gradients(warp, image, field, gradient)
    expected = warped_with_gradients(plain_warp, image.float(), field, gradient.float())
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.bfloat16, torch.float32]
    assert_close([tensor.float() for tensor in found[:2]], expected[:2], rtol=2**-8, atol=1e-4)
    assert_close(found[2], expected[2], rtol=0, atol=1e-4)


@pytest.mark.parametrize("wanted", ["image", "field"])
def test_a_single_gradient_is_the_same(wanted: str) -> None:
    image, field, gradient = random(11, 2, 16, 5, 3, 9), field_to("all", 5, 3, 9), random(12, 2, 16, 5, 3, 9)
    both = dict(zip(("image", "field"), warped_with_gradients(warp, image, field, gradient)[1:], strict=True))
    leaf = {"image": image, "field": field}[wanted].requires_grad_()
    (single,) = torch.autograd.grad(warp(image, field), leaf, gradient)
    assert torch.equal(single, both[wanted])


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_integration_and_its_gradient_are_those_of_grid_sample(dtype: torch.dtype) -> None:
    velocity, gradient = (random(seed, 2, 3, 5, 7, 6).to(dtype) for seed in (13, 14))

    def squared(velocity: Tensor) -> Tensor:
        field = velocity / 2**5
        for _ in range(5):
            field = field + plain_warp(field, field)
        return field

    flows, gradients = [], []
    for function in (lambda velocity: integrate(velocity, 5), squared):
        leaf = velocity.clone().requires_grad_()
        flows.append(function(leaf))
        gradients += torch.autograd.grad(flows[-1], leaf, gradient)
    assert_close(*flows, rtol=0, atol=TOLERANCES[dtype])
    assert_close(*gradients, rtol=0, atol=10 * TOLERANCES[dtype])
