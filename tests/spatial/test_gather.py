# SPDX-License-Identifier: Apache-2.0
"""Warps by sums of rows, against torch's grid_sample."""

import torch
from torch.testing import assert_close

from scripts.spatial import warp
from tests.spatial.examples import field_to, plain_warp, random


@torch.no_grad()
def test_more_voxels_than_are_gathered_at_a_time_are_seamless() -> None:
    size = (19, 3, 4)
    image, field = random(7, 2, 16, *size), field_to("inside", *size)
    assert_close(warp(image, field), plain_warp(image, field), rtol=0, atol=1e-12)
