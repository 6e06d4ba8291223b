# SPDX-License-Identifier: Apache-2.0
"""The network's grid lies in the world, wherever and however the image is stored."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import inv_ornt_aff
from scipy.spatial.transform import Rotation

from scripts.geometry.network_grid import MARGIN, network_grid, world_box
from scripts.geometry.resample import resample
from scripts.geometry.transforms import Affine


def blob(shape: tuple[int, int, int] = (24, 30, 22), seed: int = 0) -> np.ndarray:
    """A lopsided ellipsoid, away from the faces."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    shift = np.random.default_rng(seed).uniform(-0.15, 0.15, 3)
    return ((x - shift[0]) ** 2 + 1.3 * (y - shift[1]) ** 2 + 1.6 * (z - shift[2]) ** 2 + 0.3 * x * y) < 0.55


def grid_affine(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def stored(array: np.ndarray, affine: np.ndarray, axes: list[int], flips: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The same image with its axes in another order and direction."""
    orientation = np.array([axes, flips]).T
    return nib.orientations.apply_orientation(array, orientation), affine @ inv_ornt_aff(orientation, array.shape)


SPACINGS = st.sampled_from([(1.0, 1.0, 1.0), (0.7, 0.7, 0.7), (1.0, 1.2, 5.0), (4.0, 5.0, 6.0)])


@given(
    st.permutations([0, 1, 2]),
    st.lists(st.sampled_from([-1, 1]), min_size=3, max_size=3),
    st.lists(st.integers(0, 5), min_size=6, max_size=6),
    SPACINGS,
    st.integers(0, 5),
)
def test_grid_is_the_same_for_any_storage_of_the_image(
    axes: list[int], flips: list[int], pad: list[int], spacing: tuple[float, float, float], seed: int
) -> None:
    image, affine = blob(seed=seed), grid_affine(spacing, (-31.3, 12.5, 7.0))
    grid = network_grid(image, affine, 16)
    moved = affine.copy()
    moved[:3, 3] -= affine[:3, :3] @ pad[::2]
    again = stored(np.pad(image, np.reshape(pad, (3, 2)).tolist()), moved, axes, flips)
    other = network_grid(*again, 16)
    assert grid.shape == other.shape
    np.testing.assert_allclose(grid.affine, other.affine, atol=1e-9)


@given(SPACINGS, st.integers(0, 20), st.sampled_from([8, 16, 32]), st.sampled_from([1.0, 2.5]))
def test_grid_covers_the_foreground_with_its_margin_in_the_middle(
    spacing: tuple[float, float, float], seed: int, multiple: int, edge: float
) -> None:
    image, affine = blob(seed=seed), grid_affine(spacing, (3.0, -50.0, 20.0))
    found = network_grid(image, affine, multiple, edge)
    shape, grid = found.shape, found.affine
    low, high = world_box(image, affine)
    first, last = grid[:3, 3], grid[:3, 3] + edge * (np.array(shape) - 1)
    assert all(size % multiple == 0 for size in shape)
    assert (np.array(shape) < (high - low + 2 * MARGIN) / edge + multiple).all()
    # half a voxel because centers are counted, half a voxel to meet the lattice
    assert (first <= low - MARGIN + 1.01 * edge).all() and (last >= high + MARGIN - 1.01 * edge).all()
    assert np.abs((first + last) / 2 - (low + high) / 2).max() <= 0.51 * edge
    np.testing.assert_array_equal(grid[:3, :3], edge * np.eye(3))


def test_grid_has_at_least_the_size_that_is_asked_for() -> None:
    least = network_grid(blob(seed=0), np.eye(4), 16)
    grid = network_grid(blob(seed=0), np.eye(4), 16, 1.0, (160, 1, 161))
    assert grid.shape == (160, least.shape[1], 176)


def test_image_on_one_millimeter_ras_axes_needs_no_interpolation() -> None:
    image = np.random.default_rng(0).normal(size=(24, 30, 22)).astype(np.float32)
    affine = grid_affine((1.0, 1.0, 1.0), (-80.37, 12.81, 33.5))
    grid = network_grid(blob(), affine, 16, 1.0, (48, 48, 48))
    start = np.round(np.linalg.inv(affine) @ grid.affine[:, 3])[:3].astype(int)
    picked = resample(image, affine, grid)
    inside = tuple(slice(-begin, size - begin) for begin, size in zip(start, image.shape, strict=True))
    np.testing.assert_allclose(picked[inside], image, atol=1e-5)


def test_rotated_image_has_the_box_of_its_points() -> None:
    image, affine = blob(), grid_affine((2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 80], degrees=True).as_matrix() @ affine[:3, :3]
    points = Affine(affine)(np.argwhere(image).astype(float))
    low, high = world_box(image, affine)
    np.testing.assert_allclose(low, points.min(axis=0))
    np.testing.assert_allclose(high, points.max(axis=0))


def test_specks_do_not_move_the_grid() -> None:
    image, affine = np.pad(blob(), 20), np.diag([3.0, 3.0, 3.0, 1.0])
    noisy = image | (np.random.default_rng(0).random(image.shape) < 0.005)
    grids = [network_grid(mask, affine, 16) for mask in (noisy, image)]
    np.testing.assert_allclose(grids[0].affine, grids[1].affine, atol=3.1)


def test_foreground_at_the_faces_counts() -> None:
    low, high = world_box(np.ones((5, 6, 7), bool), np.eye(4))
    assert (low == 0).all() and high.tolist() == [4, 5, 6]


def test_empty_foreground_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        network_grid(np.zeros((5, 5, 5), bool), np.eye(4), 16)
