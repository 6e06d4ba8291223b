# SPDX-License-Identifier: Apache-2.0
"""The grid on which the network works: along the RAS axes, around the foreground of the scans."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Affine

MARGIN = 4.0  # mm, around the foreground
_TIE_BREAK = 1e-3  # mm, and voxels: more than rounding errors, less than what changes a registration
_SMALLEST = 0.02  # share of the foreground: smaller pieces are noise, or left over from skull-stripping


def network_grid(
    foreground: NDArray[np.bool_],
    affine: NDArray[np.floating],
    multiple: int,
    spacing: float = 1.0,
    least_size: Sequence[int] = (1, 1, 1),
) -> Grid:
    """A grid along the RAS axes, centered on the foreground, with a margin.

    It depends on the foreground in the world only, not on how its voxels are stored. Its lattice goes through a voxel
    of the image, so that an image of this spacing on RAS axes needs no interpolation.

    Args:
        foreground: mask, `(X, Y, Z)`, not empty.
        affine: `(4, 4)`, voxel to RAS mm.
        multiple: number that the sizes are multiples of, from 1.
        spacing: edge of a voxel, mm.
        least_size: smallest number of voxels along each axis; a network's normalizations may need as much background
            as it was trained on.

    Raises:
        ValueError: for an empty foreground.
    """
    low, high = world_box(foreground, affine)
    wanted = np.maximum((high - low + 2 * MARGIN) / spacing, least_size)
    # Sizes that are whole up to rounding must not jump to the next multiple.
    size = (multiple * np.ceil(wanted / multiple - 1e-4)).astype(int)
    to_world = Affine(np.asarray(affine, np.float64))
    center = (low + high) / 2
    corner = center - spacing * (size - 1) / 2
    # Half-way between two voxels, rounding would depend on the order and direction of the image's axes.
    through = to_world(np.round(to_world.inverse()(center[None] + _TIE_BREAK)))[0]
    shift = (through - corner) / spacing
    # Likewise where the lattice may shift up or down by half a voxel.
    corner += spacing * (shift - np.round(shift + _TIE_BREAK))
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = corner
    return Grid((int(size[0]), int(size[1]), int(size[2])), matrix)


def world_box(
    foreground: NDArray[np.bool_], affine: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest position of a foreground's voxel centers along each axis of the world, without small pieces.

    Args:
        foreground: mask, `(X, Y, Z)`, not empty.
        affine: `(4, 4)`, voxel to RAS mm.

    Returns:
        Two vectors `(3,)`, RAS mm.

    Raises:
        ValueError: for an empty foreground.
    """
    if not foreground.any():
        raise ValueError("the foreground is empty")
    pieces, _ = label(foreground)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = (sizes >= _SMALLEST * sizes.sum())[pieces] if sizes.max() >= _SMALLEST * sizes.sum() else foreground
    # The extreme voxels of a set lie at the ends of its rows: fewer points, the same box.
    ends = kept & ~(np.roll(kept, 1, axis=2) & np.roll(kept, -1, axis=2))
    ends[:, :, [0, -1]] = kept[:, :, [0, -1]]
    points = Affine(np.asarray(affine, np.float64))(np.argwhere(ends).astype(np.float64))
    return points.min(axis=0), points.max(axis=0)
