# SPDX-License-Identifier: Apache-2.0
"""Displacement fields: from the vectors that formats store to RAS mm, and back.

Every format stores a vector `d(i)` at each voxel `i` of the fixed grid, and all differ only in two matrices: what the
vector is added to, and how the sum becomes RAS mm. With `x = A_f i`, the fixed point, and `u`, its displacement:

    x + u = to_world (base i + d)        so        u = M d + (to_world base - A_f) i,    to_world = (M | t)

A voxel field `v` has `moved(i) = moving(i + v(i))` in array indices: `base` is the identity and `to_world` the moving
image's affine.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.geometry.transforms import Field
from scripts.spatial import jacobian_determinant


def to_displacement(
    vectors: NDArray, affine: NDArray, base: NDArray, to_world: NDArray[np.floating]
) -> NDArray[np.float32]:
    """World displacement of stored vectors.

    Args:
        vectors: stored vectors, `(X, Y, Z, 3)`, on the fixed grid.
        affine: `(4, 4)`, voxel of the fixed grid to RAS mm.
        base: `(4, 4)`, voxel of the fixed grid to what the vectors are added to.
        to_world: `(4, 4)`, the sum to RAS mm.

    Returns:
        `(X, Y, Z, 3)`, RAS mm, computed in float64 and rounded to float32.
    """
    displacement = vectors.astype(np.float64) @ to_world[:3, :3].T
    displacement += _linear(vectors.shape, to_world @ base - affine)
    return displacement.astype(np.float32)


def from_displacement(
    displacement: NDArray, affine: NDArray, base: NDArray, to_world: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Vectors to store for a world displacement: the inverse of `to_displacement`, with the same arguments."""
    ends = displacement - _linear(displacement.shape, to_world @ base - affine)
    return (ends @ np.linalg.inv(to_world[:3, :3]).T).astype(np.float32)


def jacobian_map(field: Field) -> NDArray[np.float32]:
    """Determinant of `dT/dx` at every voxel of a field's grid: 1 keeps the volume, 0 and below is folding.

    Central differences; the outermost voxels take the value of their inner neighbor. The determinant is the same in
    voxels and in the world.

    Args:
        field: field of at least 3 voxels along each axis.

    Returns:
        `(X, Y, Z)`.

    Raises:
        ValueError: for a smaller grid.
    """
    voxels = from_displacement(field.displacement, field.affine, np.eye(4), field.affine)
    determinant = jacobian_determinant(torch.from_numpy(voxels).permute(3, 0, 1, 2)[None])
    return np.pad(determinant[0].numpy(), 1, mode="edge")


def _linear(shape: tuple[int, ...], matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """`matrix i` at every voxel `i`, `(X, Y, Z, 3)`."""
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    columns = matrix[:3].T
    return x[..., None] * columns[0] + y[..., None] * columns[1] + z[..., None] * columns[2] + columns[3]
