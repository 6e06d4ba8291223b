"""Images and series volume by volume, from file to file in the data type that they are stored in."""

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from scripts.geometry import Grid, is_sheared
from scripts.io.headers import find_space
from scripts.io.images import open_image, size_text
from scripts.io.nifti import stored
from scripts.io.opening import UNREADABLE, check_gzip, damaged, existing_file
from scripts.io.voxels import share_of_equal_neighbours
from scripts.io.writing import unfinished
from scripts.runtime import InputError

_VOXEL_OFFSET = 352  # of NIfTI-1 in one file


@dataclass(frozen=True)
class Series:
    """A 4-D series in a file, or a 3-D image.

    Attributes:
        path: of the file.
        grid: of one volume.
        count: number of volumes; None for a 3-D image.
        dtype: of the numbers in the file.
        slope, inter: value = slope * stored number + inter.
        step: distance of the volumes, as the header has it.
        step_unit: as nibabel calls it.
        data: nibabel's array proxy.
    """

    path: str
    grid: Grid
    count: int | None
    dtype: np.dtype
    slope: float
    inter: float
    step: float
    step_unit: str
    data: Any

    def volumes(self) -> Iterator[NDArray[Any]]:
        """The values `(X, Y, Z)` of each volume; without a slope as stored, so that none passes through a float.

        Raises:
            InputError: if the file is damaged or cut short.
        """
        for number in range(self.count or 1):
            index = (slice(None), slice(None), slice(None), number, 0, 0, 0)[: self.data.ndim]
            try:
                volume = np.asanyarray(self.data[index])
            except UNREADABLE as error:
                raise damaged(self.path, error) from error
            yield volume.astype(volume.dtype.newbyteorder("="), copy=False)


def open_series(path: str | Path, assume_ras: bool = False) -> Series:
    """Open an image or a series; its volumes are read later, one by one.

    Args:
        path: NIfTI or .mgz.
        assume_ras: see `find_space`.

    Raises:
        InputError: if it is missing or damaged, is no 3-D image or 4-D series of real numbers, or if its place in the
            world is unknown.
    """
    path = str(path)
    image = open_image(path)
    shape = image.shape
    if math.prod(shape[4:]) != 1:
        raise InputError(f"{path}: {len(shape)}-D ({size_text(image)}); give a 3-D image or a 4-D series")
    try:
        check_gzip(existing_file(path))
    except UNREADABLE as error:
        raise damaged(path, error) from error
    step, unit = 1.0, "unknown"
    if len(shape) > 3 and isinstance(image, nib.Nifti1Pair):
        # Kept open, a compressed series is unpacked once and not anew for each volume.
        image = type(image).from_filename(existing_file(path), keep_file_open=True)
        step, unit = float(image.header["pixdim"][4]), image.header.get_xyzt_units()[1]
    return Series(
        path=path,
        grid=_grid_of(image, path, assume_ras),
        count=shape[3] if len(shape) > 3 else None,
        dtype=image.get_data_dtype().newbyteorder("="),
        slope=float(getattr(image.dataobj, "slope", 1.0)),
        inter=float(getattr(image.dataobj, "inter", 0.0)),
        step=step,
        step_unit=unit,
        data=image.dataobj,
    )


def image_grid(path: str | Path, assume_ras: bool = False) -> Grid:
    """The grid of an image, or of a series' volumes; what is odd about it is printed.

    Args:
        path: NIfTI or .mgz.
        assume_ras: see `find_space`.

    Raises:
        InputError: if it is no image, or if its place in the world is unknown.
    """
    return _grid_of(open_image(path), str(path), assume_ras)


def looks_like_labels(volume: NDArray[Any]) -> bool:
    """Whether values are labels and not intensities: whole numbers, most of them equal to their neighbours.

    The commonest value is left out: an image may have a large empty background.

    Args:
        volume: `(X, Y, Z)`.
    """
    if volume.dtype.kind == "f" and not (np.isfinite(volume).all() and (volume == np.rint(volume)).all()):
        return False
    values, counts = np.unique(volume, return_counts=True)
    return share_of_equal_neighbours(volume - values[counts.argmax()]) > 0.5


def save_series(path: str | Path, volumes: Iterable[NDArray[Any]], grid: Grid, like: Series) -> None:
    """Write volumes one after the other, so that a series need not fit into memory.

    The file appears under its name only when it is complete.

    Args:
        path: ends in `.nii` or `.nii.gz`; its folder exists.
        volumes: as many as `like` has, `(X, Y, Z)`: values, which are stored as `like` stores them.
        grid: of the volumes.
        like: whose data type, slope, number of volumes and time step the file gets.

    Raises:
        InputError: if the file cannot be written.
    """
    with unfinished(path) as file, ImageOpener(str(file), "wb") as stream:
        _header(grid, like).write_to(stream)
        for volume in volumes:
            stream.write(stored(volume, like.dtype, like.slope, like.inter).tobytes(order="F"))


def _grid_of(image: SpatialImage, path: str, assume_ras: bool) -> Grid:
    space = find_space(image, path, assume_ras)
    for warning in space.warnings:
        print(f"warning: {path}: {warning}", file=sys.stderr)
    return Grid(tuple(int(n) for n in image.shape[:3]), space.affine)


def _header(grid: Grid, like: Series) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_dtype(like.dtype)
    header.set_data_shape(grid.shape if like.count is None else (*grid.shape, like.count))
    header.set_sform(grid.affine, code=1)
    # A quaternion cannot hold shear: then the sform stands alone.
    header.set_qform(grid.affine, code=0 if is_sheared(grid.affine) else 1)
    header.set_xyzt_units("mm", like.step_unit)
    if like.count is not None:
        header["pixdim"][4] = like.step
    header.set_slope_inter(like.slope, like.inter)
    header.set_data_offset(_VOXEL_OFFSET)
    return header
