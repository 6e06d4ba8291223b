# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.geometry.displacement import from_displacement, jacobian_map, to_displacement
from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Affine, Field, as_field


@st.composite
def affines(draw):
    """Rotation (any handedness) x anisotropic spacing x mild shear, with an origin far from zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    shear = np.eye(3) + np.triu(rng.uniform(-0.2, 0.2, (3, 3)), 1)
    affine = np.eye(4)
    affine[:3, :3] = rotation @ shear @ np.diag(rng.uniform(0.5, 4.0, 3))
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


def random_field(shape=(4, 5, 6)):
    """Voxel vectors."""
    return np.random.default_rng(0).normal(scale=5, size=(*shape, 3)).astype(np.float32)


def in_world(field, fixed, moving):
    return to_displacement(field, fixed, np.eye(4), moving)


def in_voxels(displacement, fixed, moving):
    return from_displacement(displacement, fixed, np.eye(4), moving)


@settings(max_examples=50, deadline=None)
@given(fixed=affines(), moving=affines())
def test_conversions_undo_each_other(fixed, moving):
    field = random_field()
    displacement = in_world(field, fixed, moving)
    assert displacement.shape == (4, 5, 6, 3)
    # float32 of displacements of up to some 700 mm between two such grids
    np.testing.assert_allclose(in_voxels(displacement, fixed, moving), field, atol=3e-4)


@settings(max_examples=50, deadline=None)
@given(affine=affines())
def test_conversions_undo_each_other_on_a_shared_grid(affine):
    field = random_field()
    np.testing.assert_allclose(in_voxels(in_world(field, affine, affine), affine, affine), field, atol=2e-5)


@settings(max_examples=50, deadline=None)
@given(fixed=affines(), moving=affines())
def test_displacement_leads_from_the_fixed_to_the_moving_point(fixed, moving):
    field = random_field()
    index = np.array([3, 1, 4])
    fixed_point = fixed[:3, :3] @ index + fixed[:3, 3]
    moving_point = moving[:3, :3] @ (index + field[3, 1, 4]) + moving[:3, 3]
    displacement = in_world(field, fixed, moving)
    np.testing.assert_allclose(fixed_point + displacement[3, 1, 4], moving_point, atol=1e-4)


def test_world_vectors_of_an_axis_aligned_grid_are_scaled_and_signed():
    lps = np.diag([-2.0, -3.0, 4.0, 1.0])
    field = np.ones((2, 2, 2, 3), np.float32)
    np.testing.assert_array_equal(in_world(field, lps, lps)[1, 0, 1], [-2, -3, 4])


def test_zero_field_on_a_shared_grid_is_exactly_zero():
    affine = np.array([[0.3, 1.1, 0, 77], [-0.9, 0.2, 0, 1 / 3], [0, 0, 1.7, -55], [0, 0, 0, 1]])
    assert not in_world(np.zeros((3, 3, 3, 3)), affine, affine).any()


def test_results_are_float32():
    zeros = np.zeros((2, 3, 4, 3))
    assert in_voxels(zeros, np.eye(4), np.eye(4)).dtype == in_world(zeros, np.eye(4), np.eye(4)).dtype == np.float32


@settings(max_examples=20, deadline=None)
@given(affine=affines())
def test_jacobian_map_of_an_affine_is_its_determinant_on_any_grid(affine):
    matrix = np.eye(4)
    matrix[:3, :3] = [[1.1, 0.2, 0], [-0.1, 0.8, 0.3], [0, 0.1, 1.2]]
    matrix[:3, 3] = [5, -3, 2]
    map_ = jacobian_map(as_field(Affine(matrix), Grid((5, 4, 3), affine)))
    assert map_.shape == (5, 4, 3) and map_.dtype == np.float32
    # Differences of float32 displacements of up to some 100 mm
    np.testing.assert_allclose(map_, np.linalg.det(matrix[:3, :3]), rtol=1e-3)


def test_jacobian_map_follows_a_nonlinear_field(residual):
    affine = np.diag([1.5, -1.5, 1.5, 1])
    shape = (15, 17, 13)
    map_ = jacobian_map(as_field(residual, Grid(shape, affine)))
    step = 1e-4
    index = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3)
    points = Affine(affine)(index.astype(float))
    rows = [(residual(points + step * e) - residual(points - step * e)) / (2 * step) for e in np.eye(3)]
    expected = np.linalg.det(np.stack(rows, axis=1)).reshape(shape)
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(map_[inner], expected[inner], atol=2e-3)
    assert np.ptp(expected) > 0.05
    np.testing.assert_array_equal(map_, np.pad(map_[inner], 1, mode="edge"))


def test_jacobian_map_sees_folding():
    displacement = np.zeros((6, 6, 6, 3), np.float32)
    displacement[..., 1] = -2.0 * np.arange(6)[:, None]
    assert (jacobian_map(Field(displacement, np.eye(4))) == -1).all()
