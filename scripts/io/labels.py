# SPDX-License-Identifier: Apache-2.0
"""Reading label maps and masks: whole numbers, kept exactly, on the grid of the image that they belong to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.geometry import resample, same_grid
from scripts.io.files import FilePath
from scripts.io.headers import find_space
from scripts.io.images import ImageSource, open_volumes, source_name
from scripts.io.missing import share_text
from scripts.io.scans import Scan, as_scan, filled, read_with_holes
from scripts.io.voxels import read_voxels, share_of_equal_neighbors
from scripts.runtime import InputError

_WHOLE = 1e-3  # largest distance of a label from a whole number


def read_label(source: ImageSource, grid: Scan | None = None, assume_ras: bool = False) -> Scan:
    """Read a label map; whole numbers stored as floats are fine.

    Args:
        source: the label map, as in `read_scan`, with one volume.
        grid: image that it belongs to. On another grid, the label map is resampled by its place in the world (nearest
            voxel), with a warning; its warnings then begin with what they are about.
        assume_ras: as in `read_scan`.

    Returns:
        The label map, its `array` int32, or uint32 where a value needs it.

    Raises:
        InputError: as in `read_scan`, or if a value is not whole or beyond 32 bits, if every voxel is 0, or if no
            label lies within the image. A constant map is fine.
    """
    return _read(source, grid, assume_ras, "label map")


def read_mask(source: ImageSource, grid: Scan, assume_ras: bool = False) -> Scan:
    """Read a mask: a label map of which every label counts.

    Args:
        source, grid, assume_ras: as in `read_label`.

    Returns:
        The mask, its `array` bool.

    Raises:
        InputError: as in `read_label`.
    """
    mask = _read(source, grid, assume_ras, "mask")
    return replace(mask, array=mask.array != 0)


def read_scan_and_mask(
    source: ImageSource, mask: ImageSource, volume: int | None = None, assume_ras: bool = False
) -> tuple[Scan, Scan]:
    """Read an image and its brain mask, which says where NaN and infinite values are background, see `fill_missing`.

    Args:
        source, volume, assume_ras: as in `read_scan`.
        mask: as in `read_mask`.

    Raises:
        InputError: as in `read_scan` and `read_mask`.
    """
    scan = read_with_holes(source, volume, assume_ras)
    found = read_mask(mask, scan, assume_ras)
    return filled(scan, found.array), found


def _read(source: ImageSource, grid: Scan | None, assume_ras: bool, kind: str) -> Scan:
    image, path = open_volumes(source), source_name(source)
    space = find_space(image, path, assume_ras)
    # not as float32: that is exact only up to 2^24
    values = read_voxels(image, path)
    warnings: tuple[str, ...] = ()
    missing = ~np.isfinite(values)
    if missing.any():
        values = np.where(missing, values.dtype.type(0), values)
        warnings = (f"{share_text(missing)} are NaN or infinite; taken as 0, no label",)
    labels = _whole_numbers(values, path, kind)
    if not labels.any():
        raise InputError(f"{path}: the {kind} is empty: every voxel is 0; give another one or leave it out")
    if 0 < share_of_equal_neighbors(labels) < 0.4:
        warnings += (f"looks like an image, not like a {kind}; are image and labels swapped?",)
    label = as_scan(image, path, labels, space, warnings)
    return label if grid is None else _on_grid_of(grid, label, kind)


def _whole_numbers(values: NDArray[Any], path: FilePath, kind: str) -> NDArray[Any]:
    whole = values if values.dtype.kind in "iub" else np.rint(values)
    if values.dtype.kind == "f" and float(np.abs(values - whole).max()) > _WHOLE:
        raise InputError(f"{path}: a {kind} holds whole numbers, this file does not; is it an image?")
    low, high = int(whole.min()), int(whole.max())
    for dtype in (np.int32, np.uint32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return whole.astype(dtype)
    raise InputError(f"{path}: labels from {low} to {high} do not fit into 32 bits; renumber them")


def _on_grid_of(image: Scan, label: Scan, kind: str) -> Scan:
    name = f"{kind} {Path(label.path).name}"
    warnings = [f"{name}: {warning}" for warning in label.warnings]
    if same_grid(image.grid, label.grid):
        return replace(label, affine=image.affine, warnings=tuple(warnings))
    array = resample(label.array, label.affine, image.grid, mode="nearest")
    if not array.any():
        raise InputError(
            f"{label.path}: the {kind} ({label.grid}) does not overlap with its image {image.path} ({image.grid}); "
            "give the one that belongs to it"
        )
    warnings.append(f"{name}: not on the grid of its image but {label.grid}; resampled by its place in the world")
    return replace(label, array=array, affine=image.affine, warnings=tuple(warnings))
