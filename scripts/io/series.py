# SPDX-License-Identifier: Apache-2.0
"""Images and series volume by volume, from file to file in the data type that they are stored in."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from scripts.geometry import Grid
from scripts.io.files import FilePath, existing_file
from scripts.io.headers import find_grid, set_affine
from scripts.io.images import ImageSource, open_volumes, size_text, source_name
from scripts.io.voxels import check_gzip, read_values, storage, stored
from scripts.io.writing import whole_file
from scripts.runtime import InputError

_VOXEL_OFFSET = 352  # of NIfTI-1 in one file


@dataclass(frozen=True)
class Series:
    """A 4-D series in a file, or a 3-D image.

    Attributes:
        path: path of the file.
        grid: grid of one volume.
        count: number of volumes; None for a 3-D image.
        dtype: type of the numbers in the file.
        slope, inter: value = slope * stored number + inter.
        step: distance of the volumes, in `step_unit`.
        step_unit: unit of the step, as nibabel names it, such as `sec`.
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
            yield read_values(self.data, self.path, index)


def open_series(source: ImageSource, assume_ras: bool = False) -> Series:
    """Open an image or a series; its volumes are read later, one by one. What is odd about its header is logged.

    Args:
        source: the image, of any format that nibabel reads.
        assume_ras: as in `find_space`.

    Raises:
        InputError: if it is missing or damaged, is no 3-D image or 4-D series of real numbers, or if its place in the
            world is unknown.
    """
    image, path = open_volumes(source), source_name(source)
    shape = image.shape
    if math.prod(shape[4:]) != 1:
        raise InputError(f"{path}: {len(shape)}-D ({size_text(image)}); give a 3-D image or a 4-D series")
    check_gzip(image, path)
    step, unit = 1.0, "unknown"
    if len(shape) > 3 and isinstance(image, nib.Nifti1Pair):
        # Kept open, a compressed series is unpacked once and not anew for each volume.
        if image.get_filename() is not None:
            image = type(image).from_filename(existing_file(path), keep_file_open=True)
        step, unit = float(image.header["pixdim"][4]), image.header.get_xyzt_units()[1]
    dtype, slope, inter = storage(image)
    return Series(
        path=path,
        grid=find_grid(image, path, assume_ras),
        count=shape[3] if len(shape) > 3 else None,
        dtype=dtype,
        slope=slope,
        inter=inter,
        step=step,
        step_unit=unit,
        data=image.dataobj,
    )


def save_series(path: FilePath, volumes: Iterable[NDArray[Any]], grid: Grid, like: Series) -> None:
    """Write volumes one after the other, so that a series need not fit into memory.

    The file appears under its name only when it is complete.

    Args:
        path: path that ends in `.nii` or `.nii.gz`; its folder exists.
        volumes: values `(X, Y, Z)`, as many as `like` has volumes, which are stored as `like` stores them.
        grid: grid of the volumes.
        like: series whose data type, slope, number of volumes and time step the file gets.

    Raises:
        InputError: if the file cannot be written.
    """
    with whole_file(path) as file, ImageOpener(str(file), "wb") as stream:
        _header(grid, like).write_to(stream)
        for volume in volumes:
            stream.write(stored(volume, like.dtype, like.slope, like.inter).tobytes(order="F"))


def series_image(volumes: Iterable[NDArray[Any]], grid: Grid, like: Series) -> nib.Nifti1Image:
    """Volumes as an image in memory.

    Args:
        volumes: values `(X, Y, Z)`, as many as `like` has volumes.
        grid: grid of the volumes.
        like: series whose number of volumes and time step the image gets, and its data type where it has no slope.
    """
    plain = (like.slope, like.inter) == (1.0, 0.0)
    arrays = [stored(volume, like.dtype, 1.0, 0.0) if plain else volume for volume in volumes]
    header = _header(grid, like)
    header.set_data_dtype(arrays[0].dtype)
    header.set_slope_inter(1.0, 0.0)
    array = arrays[0] if like.count is None else np.stack(arrays, axis=-1)
    return nib.Nifti1Image(array, grid.affine, header)


def _header(grid: Grid, like: Series) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_dtype(like.dtype)
    header.set_data_shape(grid.shape if like.count is None else (*grid.shape, like.count))
    set_affine(header, grid.affine, like.step_unit)
    if like.count is not None:
        header["pixdim"][4] = like.step
    header.set_slope_inter(like.slope, like.inter)
    header.set_data_offset(_VOXEL_OFFSET)
    return header
