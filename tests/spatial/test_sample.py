# SPDX-License-Identifier: Apache-2.0
"""Interpolation at arbitrary positions."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from scripts.spatial import sample


def random_positions(count: int, size: tuple[int, ...], beyond: float = 0.0) -> np.ndarray:
    return np.random.default_rng(1).uniform(-beyond, np.array(size) - 1 + beyond, (count, 3))


@pytest.mark.parametrize("size", [(7, 8, 9), (1, 8, 9), (7, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("beyond", [0, 5])
def test_values_are_those_of_scipy(size, dtype, error, beyond):
    image = np.random.default_rng(0).random((2, *size))
    positions = random_positions(101, size, beyond)
    ours = sample(torch.from_numpy(image).to(dtype), torch.from_numpy(positions))
    expected = np.stack([map_coordinates(channel, positions.T, order=1, mode="nearest") for channel in image])
    assert ours.dtype == dtype and ours.shape == (2, 101)
    np.testing.assert_allclose(ours.numpy(), expected, atol=error)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_positions_are_independent_of_their_number(count):
    # Threads share the positions.
    image = torch.rand(2, 4, 5, 6, dtype=torch.float64)
    positions = torch.from_numpy(random_positions(3, (4, 5, 6)))
    np.testing.assert_array_equal(sample(image, positions[:count]), sample(image, positions)[:, :count])


def test_channels_last_memory_gives_the_same():
    image = torch.rand(4, 5, 6, 3).permute(3, 0, 1, 2)
    positions = torch.from_numpy(random_positions(50, (4, 5, 6)))
    np.testing.assert_array_equal(sample(image, positions), sample(image.contiguous(), positions))
