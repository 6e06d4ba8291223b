# SPDX-License-Identifier: Apache-2.0
"""Warp of many channels on the CPU without a gradient."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from scripts.spatial import warp
from tests.spatial.examples import ANY_SIZE, field_to, plain_warp, random


@torch.no_grad()
def test_volumes_of_several_slabs_are_those_of_grid_sample() -> None:
    size = (19, 3, 4)
    image, field = random(7, 2, 16, *size), field_to("inside", *size)
    assert_close(warp(image, field), plain_warp(image, field), rtol=0, atol=1e-12)


@given(
    size=ANY_SIZE,
    seed=st.integers(0, 1000),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last_3d]),
)
@settings(max_examples=50, deadline=None)
def test_inference_gives_the_same_in_the_layout_of_the_image(size: tuple, seed: int, layout) -> None:
    image, field = random(seed, 2, 9, *size).contiguous(memory_format=layout), 4 * random(seed + 1, 2, 3, *size)
    with torch.no_grad():
        inferred = warp(image, field)
    assert_close(inferred, warp(image, field), rtol=0, atol=1e-12)
    assert inferred.is_contiguous(memory_format=layout)
