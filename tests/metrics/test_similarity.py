# SPDX-License-Identifier: Apache-2.0
"""Similarities that do not depend on contrast, against values worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from scripts.metrics import local_correlation, mutual_information, without_rim
from tests.spatial.examples import random

SIZE = (24, 20, 22)
EVERYWHERE = torch.ones(SIZE, dtype=torch.bool)


def still(size: tuple[int, ...] = SIZE) -> Tensor:
    return torch.zeros(3, *size)


def texture(seed: int) -> Tensor:
    """Smooth noise in [0, 1]."""
    values = torch.nn.functional.avg_pool3d(random(seed, 1, 1, *(n + 4 for n in SIZE)).float(), 5, 1)[0, 0]
    return (values - values.min()) / (values.max() - values.min())


@pytest.mark.parametrize(
    ("fixed", "moving", "expected"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 1.0),
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),  # another contrast
        ([0, 0, 1, 1], [0, 1, 0, 1], 0.0),
        # H(F) = 0.6931, H(M) = 0.5623, H(F, M) = 1.0397: 2 · 0.2158 / 1.2555
        ([0, 0, 1, 1], [0, 0, 0, 1], 0.3437),
    ],
)
def test_mutual_information_by_hand(fixed: list[int], moving: list[int], expected: float) -> None:
    image = torch.tensor([fixed, moving], dtype=torch.float32).view(2, 4, 1, 1).expand(2, 4, 3, 2).contiguous()
    inside = torch.ones(4, 3, 2, dtype=torch.bool)
    assert mutual_information(image, still((4, 3, 2)), inside) == pytest.approx(expected, abs=1e-4)


def test_mutual_information_falls_with_a_shift_in_any_contrast() -> None:
    fixed = texture(0)
    for moving in (fixed, 1 - fixed, 4 * fixed * (1 - fixed)):
        image = torch.stack([fixed, moving])
        shifts = [mutual_information(image, torch.full((3, *SIZE), shift), EVERYWHERE) for shift in (0.0, 1.0, 3.0)]
        assert shifts[0] > shifts[1] > shifts[2]


def test_mutual_information_of_nothing_is_nan() -> None:
    assert math.isnan(mutual_information(torch.stack([texture(0)] * 2), still(), ~EVERYWHERE))
    assert math.isnan(mutual_information(torch.ones(2, *SIZE), still(), EVERYWHERE))


def test_local_correlation_has_the_sign_of_the_contrast() -> None:
    fixed, inside = texture(0), torch.stack([EVERYWHERE] * 2)
    assert local_correlation(torch.stack([fixed, 0.5 * fixed + 0.2]), inside) == pytest.approx(1, abs=1e-3)
    assert local_correlation(torch.stack([fixed, 1 - fixed]), inside) == pytest.approx(-1, abs=1e-3)
    assert abs(local_correlation(torch.stack([fixed, texture(1)]), inside)) < 0.2


def test_local_correlation_without_contrast_is_nan() -> None:
    inside = torch.stack([EVERYWHERE] * 2)
    assert math.isnan(local_correlation(torch.full((2, *SIZE), 0.5), inside))
    assert math.isnan(local_correlation(torch.stack([texture(0)] * 2), ~inside))


def test_rim_is_taken_off_in_millimeters() -> None:
    cube = torch.zeros(SIZE, dtype=torch.bool)
    cube[4:16, 4:16, 4:16] = True
    assert without_rim(cube, 1.0).sum() == 6**3  # 3 voxels on each side
    assert without_rim(cube, 1.5).sum() == 8**3  # 2 voxels
    assert without_rim(cube, 0.5).equal(cube)  # 6 voxels would leave nothing
