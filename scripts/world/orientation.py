"""Flip and permute arrays to RAS axes and back, without resampling."""

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

_RAS = np.array([[0, 1], [1, 1], [2, 1]])


def reorient_to_ras(array: NDArray, affine: NDArray) -> tuple[NDArray, NDArray]:
    """Permute and flip the spatial axes so that they point right, anterior and superior, as nearly as axes can.

    Channels stay as they are: world vectors need no change, voxel vectors would.

    Args:
        array: `(X, Y, Z)` or `(X, Y, Z, C)`.
        affine: `(4, 4)`, voxel to RAS mm.

    Returns:
        The reoriented array, contiguous (torch takes no negative strides), and its affine.

    Raises:
        ValueError: for an array of another dimension, or an affine that maps an axis to nothing.
    """
    orientation = _orientation(affine)
    return _reorient(array, orientation), affine @ inv_ornt_aff(orientation, array.shape[:3])


def reorient_from_ras(array: NDArray, original_affine: NDArray) -> NDArray:
    """Undo `reorient_to_ras`: bring an array on RAS axes back to the axes of the image it came from.

    Args:
        array: `(X, Y, Z)` or `(X, Y, Z, C)`, on RAS axes.
        original_affine: `(4, 4)`, the affine that was given to `reorient_to_ras`. It is the result's affine, too.

    Returns:
        The array on its original axes, contiguous.

    Raises:
        ValueError: as `reorient_to_ras`.
    """
    return _reorient(array, ornt_transform(_RAS, _orientation(original_affine)))


def _orientation(affine: NDArray) -> NDArray:
    orientation = io_orientation(affine)
    if np.isnan(orientation).any():
        raise ValueError(f"this affine maps a voxel axis to nothing:\n{affine}")
    return orientation


def _reorient(array: NDArray, orientation: NDArray) -> NDArray:
    if array.ndim not in (3, 4):
        raise ValueError(f"expected (X, Y, Z) or (X, Y, Z, C), got shape {array.shape}")
    return np.ascontiguousarray(apply_orientation(array, orientation))
