# SPDX-License-Identifier: Apache-2.0
"""Grids: the same place, distances, words."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scripts.geometry.grid import Grid, largest_distance, same_grid

OBLIQUE = nib.affines.from_matvec(
    Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix() @ np.diag([1.0, 2.0, 3.0]), [12.0, -7.0, 3.0]
)


def shifted(distance: float) -> np.ndarray:
    return nib.affines.from_matvec(np.eye(3), [distance, 0, 0]) @ OBLIQUE


def test_same_grid_is_the_same_size_and_place() -> None:
    grid = Grid((5, 6, 7), OBLIQUE)
    assert same_grid(grid, Grid((5, 6, 7), shifted(0.004)))
    assert not same_grid(grid, Grid((5, 6, 7), shifted(0.006)))
    assert not same_grid(grid, Grid((5, 6, 8), OBLIQUE))
    # what is little in the matrix is much at the other end of a long grid
    turn = OBLIQUE.copy()
    turn[0, 0] += 1e-3
    assert same_grid(grid, Grid((5, 6, 7), turn))
    assert not same_grid(Grid((500, 6, 7), OBLIQUE), Grid((500, 6, 7), turn))


@given(st.tuples(*[st.integers(1, 6)] * 3), st.integers(0, 100))
def test_no_voxel_is_further_apart_than_the_largest_distance(size: tuple[int, int, int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = (nib.affines.from_matvec(generator.normal(size=(3, 3)), generator.normal(size=3)) for _ in range(2))
    voxels = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).reshape(-1, 3)
    distances = np.linalg.norm(
        nib.affines.apply_affine(first, voxels) - nib.affines.apply_affine(second, voxels), axis=1
    )
    assert largest_distance(Grid(size, first), second) == pytest.approx(distances.max())


def test_grid_in_words(las: np.ndarray) -> None:
    assert str(Grid((5, 6, 7), las)) == "5x6x7 voxels of 1x1.2x1.5 mm, LAS, origin (5, -6, 7)"
