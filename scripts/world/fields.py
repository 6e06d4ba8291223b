"""Displacement fields: voxels of the arrays to RAS mm of the world, and back.

A voxel field `v` says `moved(i) = moving(i + v(i))` in array indices; a world displacement `u` says that the point
`x + u(x)` of the moving image lands at `x`. With `x = A_f i` and `x + u = A_m (i + v)`, `A = (M | t)`:

    u = M_m v + (A_m - A_f) i

where the second term vanishes if both images share a grid.
"""

import numpy as np
from numpy.typing import NDArray


def displacement_ras(field: NDArray, fixed_affine: NDArray, moving_affine: NDArray) -> NDArray[np.float32]:
    """World displacement of a voxel field.

    Args:
        field: `(3, X, Y, Z)` on the fixed grid: moving voxel minus fixed voxel, by array axis.
        fixed_affine: `(4, 4)`, voxel to RAS mm.
        moving_affine: the same for the moving image; the same matrix where the images share a grid.

    Returns:
        `(X, Y, Z, 3)`, RAS mm, computed in float64 and rounded to float32.

    Raises:
        ValueError: if `field` does not have this shape.
    """
    if field.ndim != 4 or field.shape[0] != 3:
        raise ValueError(f"expected a field (3, X, Y, Z), got shape {field.shape}")
    vectors = np.moveaxis(field, 0, -1).astype(np.float64)
    displacement = vectors @ moving_affine[:3, :3].T + _gap(vectors.shape, fixed_affine, moving_affine)
    return displacement.astype(np.float32)


def voxel_field(displacement: NDArray, fixed_affine: NDArray, moving_affine: NDArray) -> NDArray[np.float32]:
    """Voxel field of a world displacement: the inverse of `displacement_ras`.

    Args:
        displacement: `(X, Y, Z, 3)` on the fixed grid, RAS mm.
        fixed_affine: `(4, 4)`, voxel to RAS mm.
        moving_affine: the same for the moving image.

    Returns:
        `(3, X, Y, Z)`, moving voxel minus fixed voxel, by array axis; contiguous float32.

    Raises:
        ValueError: if `displacement` does not have this shape.
    """
    if displacement.ndim != 4 or displacement.shape[3] != 3:
        raise ValueError(f"expected a displacement (X, Y, Z, 3), got shape {displacement.shape}")
    vectors = displacement - _gap(displacement.shape, fixed_affine, moving_affine)
    field = vectors @ np.linalg.inv(moving_affine[:3, :3]).T
    return np.ascontiguousarray(np.moveaxis(field, -1, 0), dtype=np.float32)


def _gap(shape: tuple[int, ...], fixed_affine: NDArray, moving_affine: NDArray) -> NDArray[np.float64]:
    """`(A_m - A_f) i` at every voxel, `(X, Y, Z, 3)`, mm: zero on a shared grid."""
    difference = np.asarray(moving_affine, np.float64) - fixed_affine
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    columns = difference[:3].T
    return x[..., None] * columns[0] + y[..., None] * columns[1] + z[..., None] * columns[2] + columns[3]
