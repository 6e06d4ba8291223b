"""Checks that all readers of files share."""

import gzip
import os
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from nibabel.wrapstruct import WrapStructError

from scripts.geometry import Grid
from scripts.runtime import InputError, first_line

FilePath = str | os.PathLike[str]

UNREADABLE = (EOFError, OSError, ValueError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)


def existing_file(path: FilePath) -> Path:
    """The path of a file that is there and has content.

    Raises:
        InputError: if there is no such file, it is a folder, cannot be opened or is empty.
    """
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            raise InputError(f"{path}: a folder, not a file; give the path of a file")
        size = file.stat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({first_line(error)}); check its permissions") from error
    if size == 0:
        raise InputError(f"{path}: the file has zero bytes; copy or download it again")
    return file


def check_gzip(file: Path) -> None:
    """Read a gzip file to its end, where its checksum is: nibabel stops before, and returns what damage has made.

    Raises:
        EOFError, OSError, zlib.error: if the file is damaged; one that is not compressed is passed over.
    """
    with file.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
    if compressed:
        with gzip.open(file) as stream:
            while stream.read(1 << 20):
                pass


def damaged(path: FilePath, error: BaseException) -> InputError:
    """What to raise for a file whose content cannot be read to its end."""
    return InputError(f"{path}: the file is damaged or cut short ({first_line(error)}); copy or download it again")


def read_header(path: FilePath) -> SpatialImage:
    """Open an image of any kind that nibabel knows; its voxels are not read.

    Raises:
        InputError: if it is missing or no such image, or its affine maps a voxel axis to nothing.
    """
    file = existing_file(path)
    try:
        image = nib.load(file)
    except UNREADABLE as error:
        raise InputError(
            f"{path}: cannot be read as an image ({first_line(error)}); give NIfTI (.nii, .nii.gz) or .mgz"
        ) from error
    if not isinstance(image, SpatialImage) or len(image.shape) < 3:
        raise InputError(f"{path}: not a volume; give a 3-D NIfTI (.nii, .nii.gz) or .mgz")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-9:
        raise InputError(f"{path}: the header's affine is singular or not finite; repair sform and qform")
    return image


def read_grid(path: FilePath) -> Grid:
    """The grid of an image, by its header; of a series or field the grid of its volumes.

    Raises:
        InputError: as `read_header`.
    """
    image = read_header(path)
    return Grid(tuple(int(n) for n in image.shape[:3]), np.asarray(image.affine, dtype=np.float64))


def scan_name(path: str | Path) -> str:
    """File name without its extensions: `OASIS_1003_0000` for `…/OASIS_1003_0000.nii.gz`."""
    name = Path(path).name
    return Path(name.removesuffix(".gz")).stem
