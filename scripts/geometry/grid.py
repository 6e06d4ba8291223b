"""Where the voxels of an image lie."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from scripts.geometry.transforms import Affine

_SAME_PLACE = 5e-3  # mm: what rounding in headers moves a voxel by


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image lie.

    Args:
        shape: `(X, Y, Z)`.
        affine: `(4, 4)`, voxel to RAS mm.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.floating]


def is_sheared(affine: NDArray) -> bool:
    """Whether the axes are not at right angles, beyond the rounding of an affine that was read from a header."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return not np.allclose(directions.T @ directions, np.eye(3), atol=1e-5)


def same_grid(first: Grid, second: Grid) -> bool:
    """Whether two grids have the same size, and all their voxels the same place (to 5e-3 mm)."""
    return first.shape == second.shape and largest_distance(first.shape, first.affine, second.affine) <= _SAME_PLACE


def largest_distance(shape: Sequence[int], affine: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """How far two affines move a grid's voxels apart, mm: the largest distance is at a corner."""
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in shape])), dtype=np.float64)
    return float(np.linalg.norm(Affine(affine)(corners) - Affine(other)(corners), axis=1).max())


def describe_grid(grid: Grid) -> str:
    """Size, voxel size, orientation and origin of a grid, for a message."""
    size = "x".join(str(n) for n in grid.shape)
    origin = ", ".join(f"{t:.4g}" for t in grid.affine[:3, 3])
    return f"{size} voxels of {_sizes_text(grid.affine)} mm, {orientation(grid.affine)}, origin ({origin})"


def orientation(affine: NDArray[np.floating]) -> str:
    """Where a grid's axes point, such as `LAS`; `?` for an axis without a direction of its own."""
    return "".join(code or "?" for code in nib.orientations.aff2axcodes(affine))


def _sizes_text(affine: NDArray[np.floating]) -> str:
    return "x".join(f"{size:.4g}" for size in nib.affines.voxel_sizes(affine))
