# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Affine, Chain, Field, InverseField, as_field, fill_grid

OBLIQUE = np.array([[-1.1, 0.3, 0.1, 20], [0.2, 1.3, -0.4, -35], [0.1, 0.5, 1.9, 12], [0, 0, 0, 1]])
SHAPE = (14, 12, 10)


def turn(degrees: float, axis: tuple[float, float, float] = (1, 2, 3)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * np.array(axis) / np.linalg.norm(axis)).as_matrix()
    return matrix


def voxels_inside(count: int = 200, margin: float = 0.0) -> np.ndarray:
    return np.random.default_rng(0).uniform(margin, np.array(SHAPE) - 1 - margin, (count, 3))


def random_field(scale: float = 1.0) -> Field:
    displacement = np.random.default_rng(0).normal(scale=scale, size=(*SHAPE, 3)).astype(np.float32)
    return Field(displacement, OBLIQUE)


def test_quarter_turn_takes_right_to_front():
    quarter = Affine(turn(90, (0, 0, 1)))
    np.testing.assert_allclose(quarter(np.array([[3.0, 0, 5]])), [[0, 3, 5]], atol=1e-12)
    np.testing.assert_allclose(quarter.inverse()(np.array([[0.0, 3, 5]])), [[3, 0, 5]], atol=1e-12)


def test_affine_takes_whole_numbers_views_and_no_points():
    affine = Affine(OBLIQUE.astype(np.float32))
    points = np.arange(12).reshape(4, 3)
    expected = points @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]
    np.testing.assert_allclose(affine(points), expected, atol=1e-5)
    np.testing.assert_array_equal(affine(points[::-1]), affine(points)[::-1])
    assert affine(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("beyond", [0.0, 4.0])
def test_field_is_linear_between_voxels_and_goes_on_outside_as_scipy_says(beyond):
    field = random_field()
    voxels = voxels_inside(margin=-beyond)
    points = Affine(OBLIQUE)(voxels)
    channels = np.moveaxis(field.displacement.astype(np.float64), -1, 0)
    shift = np.stack([map_coordinates(channel, voxels.T, order=1, mode="nearest") for channel in channels], axis=1)
    np.testing.assert_allclose(field(points), points + shift, atol=1e-5)


def test_field_of_one_slice_has_its_value_above_and_below():
    field = Field(np.full((5, 5, 1, 3), 2, np.float32), np.eye(4))
    points = np.array([[2.0, 2, -7], [2, 2, 0], [2, 2, 7]])
    np.testing.assert_array_equal(field(points), points + 2)


def test_no_points_are_mapped_to_no_points():
    none = np.zeros((0, 3))
    field = random_field()
    for transform in (field, field.inverse(), Chain([field, Affine(OBLIQUE)]), Chain([])):
        assert transform(none).shape == (0, 3)


def test_points_that_are_given_stay_as_they_are():
    points = Affine(OBLIQUE)(voxels_inside())
    copy = points.copy()
    smooth = Field(np.zeros((*SHAPE, 3), np.float32) + 1, OBLIQUE)
    for transform in (smooth, smooth.inverse(), Affine(turn(30)), Chain([smooth, Affine(turn(30))])):
        transform(points)
        np.testing.assert_array_equal(points, copy)


def test_chain_is_composition_last_first():
    a, b = Affine(turn(40)), Affine(np.diag([2.0, 1, 1, 1]))
    points = voxels_inside()
    np.testing.assert_allclose(Chain([a, b])(points), a(b(points)))
    assert np.abs(a(b(points)) - b(a(points))).max() > 1
    np.testing.assert_allclose(Chain([a, b]).inverse()(a(b(points))), points, atol=1e-12)


@settings(max_examples=15)
@given(degrees=st.floats(-180, 180), seed=st.integers(0, 100))
def test_inverse_of_a_fused_field_brings_points_back_whatever_its_rotation(degrees, seed):
    """Far from a contraction: only the smooth remainder is one."""
    rng = np.random.default_rng(seed)
    phase, axis = rng.uniform(0, 6, 3), tuple(rng.normal(size=3))
    rigid = Affine(turn(degrees, axis))
    grid = np.diag([2.0, 2, 2, 1])
    points = Affine(grid)(np.argwhere(np.ones((20, 20, 20))).astype(np.float64))
    ends = rigid(points + 2 * np.sin(points[:, [1, 2, 0]] / 8 + phase))
    field = Field((ends - points).astype(np.float32).reshape(20, 20, 20, 3), grid)
    inner = rng.uniform(6, 32, (200, 3))
    inverse = field.inverse()
    assert np.abs(inverse(field(inner)) - inner).max() < 1e-3
    assert inverse.inverse() is field


def test_inverse_is_right_point_by_point():
    """One that needs many rounds does not stop the others early, and order is kept."""
    x = np.arange(40.0)
    displacement = np.zeros((40, 3, 3, 3), np.float32)
    displacement[..., 0] = (-0.9 * np.maximum(x - 20, 0) * (x < 30) - 9 * (x >= 30))[:, None, None]
    inverse = InverseField(Field(displacement, np.eye(4)), Affine(np.eye(4)))
    there = np.array([[5.0, 1, 1], [25, 1, 1], [10, 1, 1], [28.5, 1, 1], [20, 1, 1]])
    ends = inverse.field(there)
    np.testing.assert_allclose(inverse(ends), there, atol=0.1)
    np.testing.assert_allclose(inverse(ends)[[0, 2, 4]], there[[0, 2, 4]], atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8, 1), (1, 8, 1), (1, 1, 1)])
def test_inverse_of_a_field_of_one_slice(shape):
    grid = np.diag([2.0, 2, 2, 1])
    field = as_field(Affine(turn(20, (0, 0, 1))), Grid(shape, grid))
    points = np.random.default_rng(0).uniform(0, np.array(shape) * 2 - 1.999, (20, 3))
    assert np.abs(field.inverse()(field(points)) - points).max() < 1e-3


def test_field_that_folds_still_gives_finite_points():
    assert np.isfinite(random_field(scale=20).inverse()(Affine(OBLIQUE)(voxels_inside()))).all()


def test_as_field_equals_the_transform_at_the_voxels():
    transform = Affine(turn(25))
    field = as_field(transform, Grid(SHAPE, OBLIQUE))
    assert field.displacement.shape == (*SHAPE, 3) and field.displacement.dtype == np.float32
    points = Affine(OBLIQUE)(np.array([[0.0, 0, 0], [3, 4, 5], [13, 11, 9]]))
    np.testing.assert_allclose(field(points), transform(points), atol=1e-5)


def test_every_voxel_of_a_grid_of_many_slabs_is_filled():
    out = np.zeros((5, 600, 601, 3))  # two slices would be too many for one slab
    fill_grid(out, OBLIQUE, lambda points: points)
    voxels = np.array([[0.0, 0, 0], [1, 599, 3], [2, 7, 9], [4, 599, 600]])
    np.testing.assert_allclose(out[tuple(voxels.astype(int).T)], Affine(OBLIQUE)(voxels), atol=1e-9)
    step = np.diff(out[:, 5, 5], axis=0)
    np.testing.assert_allclose(step, np.broadcast_to(OBLIQUE[:3, 0], step.shape), atol=1e-9)


def test_error_at_a_point_of_a_grid_comes_out():
    with pytest.raises(ZeroDivisionError):
        fill_grid(np.zeros((2, 600, 600)), OBLIQUE, lambda points: 1 / 0)
