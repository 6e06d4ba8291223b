"""Warps by sums of rows with their gradient, against torch's grid_sample and its autograd."""

import pytest
import torch
from torch.testing import assert_close

from scripts.spatial import warp
from scripts.spatial.gather import GatheredWarp
from tests.spatial.examples import PLACES, SIZES, field_to, plain_warp, random, warped_with_gradients

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients_are_those_of_grid_sample(
    size: tuple[int, int, int], place: str, dtype: torch.dtype, tolerance: float, layout: torch.memory_format
) -> None:
    field = field_to(place, *size).to(dtype)
    image, gradient = (random(seed, 2, 17, *size).to(dtype).contiguous(memory_format=layout) for seed in (1, 2))
    for way in (GatheredWarp.apply, warp):
        found = warped_with_gradients(way, image, field, gradient)
        expected = warped_with_gradients(plain_warp, image, field, gradient)
        assert_close(found, expected, rtol=0, atol=tolerance)


def test_a_field_on_the_border_and_outside_gets_no_gradient_and_one_inside_does() -> None:
    image, gradient = random(3, 2, 16, 5, 3, 9), random(4, 2, 16, 5, 3, 9)
    slopes = {
        place: warped_with_gradients(GatheredWarp.apply, image, field_to(place, 5, 3, 9), gradient)[2]
        for place in ("inside", "border", "outside")
    }
    assert slopes["inside"].all()
    assert not slopes["border"].any() and not slopes["outside"].any()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("of_gradient", LAYOUTS, ids=str)
def test_layout_of_the_result_and_of_its_gradient_is_that_of_the_image(
    layout: torch.memory_format, of_gradient: torch.memory_format
) -> None:
    image = random(5, 2, 16, 4, 5, 6).contiguous(memory_format=layout)
    gradient = random(6, 2, 16, 4, 5, 6).contiguous(memory_format=of_gradient)
    warped, to_image, _ = warped_with_gradients(warp, image, field_to("all", 4, 5, 6), gradient)
    for volumes in (warped, to_image):
        assert volumes.stride() == image.stride()


def test_more_voxels_than_are_gathered_at_a_time_are_seamless() -> None:
    size = (19, 3, 4)
    image, gradient = random(7, 2, 16, *size), random(8, 2, 16, *size)
    found, expected = (
        warped_with_gradients(way, image, field_to("inside", *size), gradient) for way in (warp, plain_warp)
    )
    assert_close(found, expected, rtol=0, atol=1e-12)


def test_half_precision_image_gets_the_gradient_of_float32_coordinates() -> None:
    # As training has it under autocast: the gradient is rounded once, at the end.
    size = (5, 3, 9)
    image, field = random(9, 2, 16, *size).bfloat16(), field_to("all", *size).float()
    gradient = random(10, 2, 16, *size).bfloat16()
    found = warped_with_gradients(warp, image, field, gradient)
    expected = warped_with_gradients(plain_warp, image.float(), field, gradient.float())
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.bfloat16, torch.float32]
    assert_close([tensor.float() for tensor in found[:2]], expected[:2], rtol=2**-8, atol=1e-4)
    assert_close(found[2], expected[2], rtol=0, atol=1e-4)


@pytest.mark.parametrize("wanted", ["image", "field"])
def test_one_gradient_alone_is_the_same(wanted: str) -> None:
    image, field, gradient = random(11, 2, 16, 5, 3, 9), field_to("all", 5, 3, 9), random(12, 2, 16, 5, 3, 9)
    both = dict(zip(("image", "field"), warped_with_gradients(warp, image, field, gradient)[1:], strict=True))
    leaf = {"image": image, "field": field}[wanted].requires_grad_()
    (alone,) = torch.autograd.grad(warp(image, field), leaf, gradient)
    assert torch.equal(alone, both[wanted])
