# SPDX-License-Identifier: Apache-2.0
"""Reading a user's image, with one clear line for whatever is wrong with it and one for whatever is odd."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from scripts.geometry import Grid
from scripts.io.files import FilePath
from scripts.io.headers import Space, find_space
from scripts.io.images import ImageSource, open_volumes, source_name
from scripts.io.missing import fill_missing
from scripts.io.template import template_name
from scripts.io.voxels import commonest, read_voxels, share_of_equal_neighbors, storage
from scripts.runtime import InputError


@dataclass(frozen=True)
class Scan:
    """An image as its file has it.

    Attributes:
        path: path of the file.
        array: `(X, Y, Z)` float32 in the file's own axis order, scl_slope and scl_inter applied; for a label map int32
            or uint32, for a mask bool.
        affine: `(4, 4)` float64, voxel to RAS mm.
        dtype: type of the numbers in the file.
        slope, inter: value = slope * number in the file + inter.
        space: what the affine comes from, such as `sform (scanner)`.
        warnings: what is odd about the file, one line each.
        volume: number of the volume that was read, from 0; None of a file with one.
    """

    path: str
    array: NDArray[Any]
    affine: NDArray[np.float64]
    dtype: np.dtype[Any]
    slope: float
    inter: float
    space: str
    warnings: tuple[str, ...]
    volume: int | None = None

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.array.shape, self.affine)


def read_scan(source: ImageSource, volume: int | None = None, assume_ras: bool = False) -> Scan:
    """Read a 3-D image: NIfTI, .mgz, or whatever else nibabel reads.

    NaN and infinite values are replaced by background, see `fill_missing`.

    Args:
        source: the image; its trailing axes of length 1 are dropped.
        volume: number of the volume where there are several, from 0; an image with one ignores it.
        assume_ras: whether axes of unknown direction are taken as RAS, see `find_space`.

    Raises:
        InputError: if the file is missing, unreadable, damaged or cut short, is not one 3-D volume of real numbers,
            is constant, or NaN or infinite inside what it shows, or if its place in the world is unknown, singular or
            implausible.
    """
    return filled(read_with_holes(source, volume, assume_ras))


def read_with_holes(source: ImageSource, volume: int | None = None, assume_ras: bool = False) -> Scan:
    """Read a 3-D image as `read_scan` does, but leave NaN and infinite values: `filled` must follow."""
    image, path = open_volumes(source), source_name(source)
    space = find_space(image, path, assume_ras)
    scan = as_scan(image, path, read_voxels(image, path, np.float32, volume), space, ())
    return replace(scan, volume=volume) if max(image.shape[3:], default=1) > 1 else scan


def filled(scan: Scan, mask: NDArray[np.bool_] | None = None) -> Scan:
    """A scan with background where it had no number, see `fill_missing`.

    Args:
        scan: scan of `read_with_holes`.
        mask: `(X, Y, Z)`, the brain.

    Raises:
        InputError: as `fill_missing`, or if the scan is constant.
    """
    values, warnings = fill_missing(scan.array, scan.path, scan.grid, mask)
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise InputError(f"{scan.path}: the image is empty: every voxel is {low:g}; give another image")
    # Once more without the background, which an image may have elsewhere than at 0; that takes longer.
    if share_of_equal_neighbors(values) > 0.7 and share_of_equal_neighbors(values - commonest(values)) > 0.7:
        warnings += ("looks like a label map, not like an image; are image and labels swapped?",)
    return replace(scan, array=values, warnings=scan.warnings + warnings)


def as_scan(image: SpatialImage, path: FilePath, array: NDArray[Any], space: Space, warnings: tuple[str, ...]) -> Scan:
    """A scan of these values, with how the file of `image` stores its numbers.

    Args:
        image: opened image.
        path: path of its file.
        array: values, `(X, Y, Z)`.
        space: where the voxels lie.
        warnings: what is odd about the values; what is odd about the space comes before.
    """
    affine = np.asarray(space.grid.affine, dtype=np.float64)
    found = (*space.warnings, *warnings)
    return Scan(str(path), array, affine, *storage(image), space.source, found)


def header_facts(scan: Scan) -> dict[str, Any]:
    """What a report says about an input, ready for JSON.

    Returns:
        `path`, `size` (voxels), `spacing_mm`, `orientation` (such as `LAS`), `dtype`, `space` and `warnings`;
        of the template also `template`, its name.
    """
    facts = {
        "path": scan.path,
        "size": list(scan.array.shape),
        "spacing_mm": [round(float(size), 6) for size in scan.grid.spacing],
        "orientation": scan.grid.orientation,
        "dtype": str(scan.dtype),
        "space": scan.space,
        "warnings": list(scan.warnings),
    }
    template = template_name(scan.path)
    return facts | ({"template": template} if template else {})
