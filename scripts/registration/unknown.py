# SPDX-License-Identifier: Apache-2.0
"""Where the content of an image is unknown: what is excluded, and what lies beyond the sides where it is cut off."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from scripts.datasets import Cut, find_background, foreground
from scripts.geometry import Affine, Grid, resample
from scripts.io import ImageSource, Scan, read_mask
from scripts.registration.continuation import SLOPE_OF_IMAGE, continued
from scripts.registration.pair import LoadedImage
from scripts.runtime import InputError

UNKNOWN = 0.01  # of an interpolated value that unknown voxels may have; rounding errors of positions have less
# Share of what a scan shows that must count: without a hemisphere it is a half, and a brain mask that is given as an
# exclusion leaves a tenth or less.
_LEAST_LEFT = 0.25


def holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What a mask leaves out and surrounds on all sides, `(X, Y, Z)`."""
    return binary_fill_holes(mask) & ~mask


def read_excluded(
    exclude: ImageSource | None, scan: Scan, mask: NDArray[np.bool_] | None, assume_ras: bool
) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """What does not count in a scan: what a file excludes, and the holes of the brain mask.

    Args:
        exclude: mask of what does not count; on another grid it is resampled by its place in the world.
        scan: the scan.
        mask: its brain mask, `(X, Y, Z)`.
        assume_ras: as in `io.read_mask`.

    Returns:
        `(X, Y, Z)`, or None where all of the scan counts; and what is odd about the file, one line each.

    Raises:
        InputError: as in `io.read_mask`, or if hardly anything is left that counts.
    """
    region = np.zeros(scan.array.shape, bool) if mask is None else holes(mask)
    warnings: tuple[str, ...] = ()
    if exclude is not None:
        read = read_mask(exclude, scan, assume_ras)
        warnings = read.warnings
        region |= read.array
        shown = foreground(scan.array, mask if mask is None else mask | region)
        if not (shown & read.array).any():
            warnings += (f"{read.path} excludes nothing of what the image shows; is it of this image?",)
        elif np.count_nonzero(shown & ~region) <= _LEAST_LEFT * np.count_nonzero(shown):
            share = 100 * np.count_nonzero(shown & region) / np.count_nonzero(shown)
            raise InputError(
                f"{read.path}: excludes {share:.0f} % of what {scan.path} shows; give what does not count, such as a "
                "lesion; a mask of what counts is a brain mask"
            )
    return (region if region.any() else None), warnings


def without_region(
    image: NDArray[np.float32], region: NDArray[np.bool_], mask: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """An image that shows in a region of it what follows smoothly from the surroundings.

    Args:
        image: `(X, Y, Z)`.
        region: `(X, Y, Z)`, not all True.
        mask: the brain, `(X, Y, Z)`: what it leaves out, such as a skull, is not continued.
    """
    around = image
    if mask is not None and not (inside := mask | region).all():
        around = np.where(inside, image, np.float32(find_background(image, inside).value))
    return np.where(region, continued(around[None], region, SLOPE_OF_IMAGE)[0], image)


def unknown_on(image: LoadedImage, grid: Grid, matrix: NDArray[np.float64] | None = None) -> NDArray[np.bool_]:
    """Where an image that is pulled onto a grid by linear interpolation is unknown.

    Args:
        image: the image.
        grid: the grid.
        matrix: `(4, 4)`, points of the grid to points of the image, RAS mm; by default the identity.

    Returns:
        `(X, Y, Z)` of the grid.
    """
    affine = image.scan.affine
    to_image = np.eye(4) if matrix is None else matrix
    unknown = np.zeros(grid.shape, bool)
    if image.excluded is not None:
        unknown |= resample(image.excluded.astype(np.float32), affine, grid, Affine(to_image)) > UNKNOWN
    for cut in image.cuts:
        unknown |= _beyond(cut, np.linalg.inv(affine) @ to_image @ grid.affine, grid.shape)
    return unknown


def _beyond(cut: Cut, to_voxels: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    slope, start = to_voxels[cut.axis, :3], to_voxels[cut.axis, 3]
    along = sum(np.moveaxis((slope[axis] * np.arange(shape[axis]))[:, None, None], 0, axis) for axis in range(3))
    return cut.outwards * (along + start - cut.last) > UNKNOWN
