# SPDX-License-Identifier: Apache-2.0
"""Images on other grids, interpolated once, whatever the transform."""

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Affine, Chain, Transform, fill_grid
from scripts.spatial import sample


def resample(
    array: NDArray,
    affine: NDArray[np.floating],
    reference: Grid,
    transform: Transform | None = None,
    mode: str = "linear",
    outside: float = 0,
) -> NDArray:
    """Pull an image onto a reference grid.

    As in ITK, an image ends half a voxel beyond its outermost voxel centers; up to there it has the border's value.

    Args:
        array: image, `(X, Y, Z)`, of any type; `nearest` changes no value.
        affine: `(4, 4)`, voxel of the image to RAS mm.
        reference: grid of the result.
        transform: transform from points of the reference to points of the image, RAS mm; by default the identity.
        mode: `linear` or `nearest`.
        outside: value of the result where there is no image.

    Returns:
        On the reference grid, in the image's type for `nearest`; float32 for `linear`, or float64 where the image's
        values need that.

    Raises:
        ValueError: for another mode or an image that is not 3-D.
    """
    if mode not in ("linear", "nearest"):
        raise ValueError(f"mode is linear or nearest, not {mode}")
    if array.ndim != 3:
        raise ValueError(f"expected an image (X, Y, Z), got shape {array.shape}")
    to_voxels: Transform = Affine(np.linalg.inv(affine))
    if transform is not None:
        to_voxels = Chain([to_voxels, transform])
    nearest = mode == "nearest"
    values = array
    if not nearest:
        values = np.ascontiguousarray(array, dtype=np.result_type(array.dtype, np.float32))
    result = np.empty(reference.shape, dtype=values.dtype)

    def pull(points: NDArray[np.float64]) -> NDArray:
        voxels = to_voxels(points)
        picked = _nearest(values, voxels) if nearest else _linear(values, voxels)
        inside = ((voxels >= -0.5) & (voxels <= np.array(array.shape) - 0.5)).all(axis=1)
        return np.where(inside, picked, values.dtype.type(outside))

    fill_grid(result, reference.affine, pull)
    return result


def value_outside(values: NDArray) -> float:
    """Value of an image outside its grid: 0, or where all its values lie on one side of 0, the smallest of them."""
    low, high = float(values.min()), float(values.max())
    return 0.0 if low <= 0 <= high else low


def _linear(values: NDArray, voxels: NDArray[np.float64]) -> NDArray:
    return sample(torch.from_numpy(values)[None], torch.from_numpy(voxels))[0].numpy()


def _nearest(values: NDArray, voxels: NDArray[np.float64]) -> NDArray:
    # Half-way goes up, as in ITK; taken by index, so that no value passes through a float.
    index = np.floor(voxels + 0.5).astype(np.intp).clip(0, np.array(values.shape) - 1)
    return values[tuple(index.T)]
