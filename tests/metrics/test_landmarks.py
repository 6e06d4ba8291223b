# SPDX-License-Identifier: Apache-2.0
"""TRE of points and of landmark labels against simple reimplementations."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scripts.metrics import label_tre, tre


def trilinear(component: np.ndarray, point: np.ndarray) -> float:
    """Value of one component of a field at a point, voxels."""
    low = np.floor(point).astype(int)
    value = 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, point - low, 1 - (point - low)))
        value += weight * component[tuple(low + corner)]
    return value


def test_tre_is_that_of_a_trilinear_loop() -> None:
    rng = np.random.default_rng(0)
    size = np.array([5, 6, 7])
    field = rng.normal(size=(3, *size)).astype(np.float32)
    fixed = rng.uniform(0, size - 1.001, size=(20, 3))
    moving = rng.uniform(0, 5, size=(20, 3))
    spacing = (0.5, 1.0, 2.0)
    expected = [
        math.dist((f + [trilinear(component, f) for component in field]) * spacing, m * spacing)
        for f, m in zip(fixed, moving, strict=True)
    ]
    distances = tre(torch.from_numpy(field), torch.from_numpy(fixed), torch.from_numpy(moving), spacing)
    np.testing.assert_allclose(distances.numpy(), expected, rtol=1e-9)


@given(shift=st.tuples(*[st.floats(-20, 20)] * 3), spacing=st.tuples(*[st.floats(0.1, 4)] * 3))
def test_translation_is_undone_by_its_own_field(shift: tuple[float, ...], spacing: tuple[float, ...]) -> None:
    field = torch.tensor(shift, dtype=torch.float64).view(3, 1, 1, 1).expand(3, 4, 4, 4)
    # The last point is outside the grid, where the field has its border value.
    fixed = torch.tensor([[1.0, 2.0, 0.25], [0.0, 3.0, 1.5], [9.0, -4.0, 2.0]], dtype=torch.float64)
    moving = fixed + torch.tensor(shift, dtype=torch.float64)
    torch.testing.assert_close(tre(field, fixed, moving, spacing), torch.zeros(3, dtype=torch.float64))
    length = math.hypot(*np.multiply(shift, spacing))
    unregistered = tre(torch.zeros_like(field), fixed, moving, spacing)
    torch.testing.assert_close(unregistered, torch.full((3,), length, dtype=torch.float64))


def test_outside_points_move_as_the_border_does() -> None:
    # 5 + 4 = 9: the point outside takes the displacement of the border voxel (2, 1, 1).
    field = torch.zeros(3, 3, 3, 3)
    field[0, 2, 1, 1] = 4.0
    outside = torch.tensor([[5.0, 1.0, 1.0]])
    assert tre(field, outside, torch.tensor([[9.0, 1.0, 1.0]])).tolist() == [0.0]


def test_wrong_shapes_of_points_are_refused() -> None:
    with pytest.raises(ValueError, match="landmarks"):
        tre(torch.zeros(3, 4, 4, 4), torch.zeros(5, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="landmarks"):
        tre(torch.zeros(3, 4, 4, 4), torch.zeros(5, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="field"):
        tre(torch.zeros(1, 3, 4, 4, 4), torch.zeros(5, 3), torch.zeros(5, 3))


@given(seed=st.integers(0, 10**6))
def test_label_tre_is_the_distance_of_the_centroids(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [4, 70, 1000]
    fixed, warped = (rng.choice([0, 9, *labels], size=(4, 5, 6)) for _ in range(2))
    expected = [
        math.dist(np.argwhere(fixed == label).mean(0), np.argwhere(warped == label).mean(0)) for label in labels
    ]
    distances = label_tre(torch.from_numpy(fixed), torch.from_numpy(warped)[None], labels)
    np.testing.assert_allclose(distances.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_landmark_that_one_map_lacks_is_nan() -> None:
    # Label 1 is at (0, 0, 0) and at (0, 3, 0); label 2 is in the fixed map only, label 5 in neither.
    fixed = torch.zeros(4, 4, 4, dtype=torch.int32)
    fixed[0, 0, 0], fixed[3, 3, 3] = 1, 2
    warped = torch.zeros_like(fixed)
    warped[0, 3, 0] = 1
    np.testing.assert_equal(label_tre(fixed, warped, [2, 1, 5]).tolist(), [math.nan, 3.0, math.nan])
