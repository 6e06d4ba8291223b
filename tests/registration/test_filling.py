# SPDX-License-Identifier: Apache-2.0
"""Where an image is unknown the network is shown what the other one shows at the matching place."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from scripts.registration.filling import predict_around

SIZE = (30, 32, 34)
SHIFT = 3  # voxels, along the second axis: fixed(x) = moving(x + shift)
MOVING = gaussian_filter(np.random.default_rng(0).normal(size=SIZE), 2).astype(np.float32)
FIXED = np.roll(MOVING, -SHIFT, axis=1)
INSIDE = np.linalg.norm(np.indices(SIZE) - np.reshape((15, 15, 17), (3, 1, 1, 1)), axis=0) < 6
TOP = np.indices(SIZE)[2] >= 26


class Shifting:
    """A network that finds the shift wherever the content is known, and 2 voxels more where it is not."""

    def __init__(self, unknown: NDArray[np.bool_]) -> None:
        self.unknown = torch.from_numpy(unknown)
        self.shown: list[NDArray[np.float32]] = []

    def __call__(self, image: NDArray[np.float32]) -> Tensor:
        self.shown.append(image.copy())
        field = torch.zeros(3, *SIZE)
        field[1] = SHIFT
        if len(self.shown) == 1:
            field[1][self.unknown] += 2
        return field


@pytest.mark.parametrize("role", [0, 1], ids=["fixed", "moving"])
def test_region_shows_in_the_end_what_matches(role: int) -> None:
    image = np.stack([FIXED, MOVING])
    truth = image.copy()
    image[role][INSIDE] = 100
    unknown = np.zeros((2, *SIZE), bool)
    unknown[role] = INSIDE
    network = Shifting(INSIDE if role == 0 else np.roll(INSIDE, -SHIFT, axis=1))
    filled, field = predict_around(image, unknown, network)
    first, second = network.shown
    assert np.abs(first).max() < 2  # of what the region shows nothing is left
    assert (second == filled).all()
    assert (filled[:, ~INSIDE] == truth[:, ~INSIDE]).all()
    assert np.abs(filled - truth).max() < 0.02
    assert (field[1] == SHIFT).all()


@pytest.mark.parametrize("role", [0, 1], ids=["fixed", "moving"])
def test_beyond_a_cut_the_other_image_is_shown_as_it_is(role: int) -> None:
    image = np.stack([FIXED, MOVING])
    image[role][TOP] = 0
    unknown = np.zeros((2, *SIZE), bool)
    unknown[role] = TOP
    network = Shifting(TOP)
    filled, _ = predict_around(image, unknown, network)
    assert len(network.shown) == 1
    assert np.abs(filled[role][TOP] - image[1 - role][TOP]).max() < 1e-5
    assert (filled[:, ~TOP] == image[:, ~TOP]).all()


def test_where_both_are_unknown_there_is_nothing_to_show() -> None:
    image = np.stack([FIXED, MOVING])
    filled, _ = predict_around(image, np.stack([TOP, TOP]), Shifting(TOP))
    assert (filled == image).all()
