# SPDX-License-Identifier: Apache-2.0
"""Where the voxels of an image lie."""

import itertools
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

# From RAS to LPS, the world of ITK, ANTs and DICOM, and back: of vectors, and as a matrix.
LPS_SIGNS = np.array([-1.0, -1.0, 1.0])
LPS = np.diag([*LPS_SIGNS, 1.0])

_SAME_PLACE = 5e-3  # mm: what rounding in headers moves a voxel by
_RIGHT_ANGLE = 1e-5  # cosine: what rounding in headers turns an axis by


@dataclass(frozen=True, eq=False)
class Grid:
    """Size of an image and the position of its voxels.

    Attributes:
        shape: `(X, Y, Z)`, voxels.
        affine: `(4, 4)`, voxel to RAS mm.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.floating]

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel size along each array axis, `(3,)`, mm."""
        return voxel_sizes(self.affine)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel, mm³."""
        return abs(float(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Direction of each array axis, such as `LAS`; `?` for an axis without a direction of its own."""
        return "".join(code or "?" for code in nib.orientations.aff2axcodes(self.affine))

    def __str__(self) -> str:
        """Size, voxel size, orientation and origin, for a message."""
        sizes = "x".join(f"{size:.4g}" for size in self.spacing)
        origin = ", ".join(f"{t:.4g}" for t in self.affine[:3, 3])
        return f"{'x'.join(map(str, self.shape))} voxels of {sizes} mm, {self.orientation}, origin ({origin})"


def faces(values: NDArray[Any]) -> NDArray[Any]:
    """The values on the six faces of a volume, `(N,)`; those on edges are repeated.

    Args:
        values: `(X, Y, Z)`.
    """
    return np.concatenate([np.moveaxis(values, axis, 0)[[0, -1]].ravel() for axis in range(3)])


def voxel_sizes(affine: NDArray[np.floating]) -> NDArray[np.float64]:
    """Voxel size along each array axis, `(3,)`, mm.

    Args:
        affine: `(4, 4)`, voxel to mm.
    """
    sizes: NDArray[np.float64] = np.linalg.norm(affine[:3, :3], axis=0)
    return sizes


def largest_cosine(affine: NDArray[np.floating]) -> float:
    """Largest absolute cosine of the angle between two array axes: 0 for right angles."""
    directions = affine[:3, :3] / voxel_sizes(affine)
    return float(np.abs(directions.T @ directions - np.eye(3)).max())


def is_sheared(affine: NDArray[np.floating]) -> bool:
    """Whether the axes are not at right angles, beyond the rounding of an affine that was read from a header."""
    return largest_cosine(affine) > _RIGHT_ANGLE


def same_grid(first: Grid, second: Grid) -> bool:
    """Whether two grids have the same size, and all their voxels the same place (to 5e-3 mm)."""
    return first.shape == second.shape and largest_distance(first, second.affine) <= _SAME_PLACE


def largest_distance(grid: Grid, affine: NDArray[np.floating]) -> float:
    """Largest distance, mm, between a grid's voxels and the same voxels of another affine: it is at a corner."""
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in grid.shape])), dtype=np.float64)
    moved = nib.affines.apply_affine(grid.affine, corners) - nib.affines.apply_affine(affine, corners)
    return float(np.linalg.norm(moved, axis=1).max())
