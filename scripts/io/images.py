# SPDX-License-Identifier: Apache-2.0
"""The opener of image files: what is no image, or not the kind of image that is wanted, is refused in one line."""

import zlib
from itertools import islice
from pathlib import Path

import nibabel as nib
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from nibabel.wrapstruct import WrapStructError

from scripts.io.files import FilePath, existing_file, file_start
from scripts.runtime import InputError, first_line

# What nibabel raises for damaged files; KeyError and OverflowError for numbers in a header that make no sense.
DAMAGED = (
    EOFError,
    HeaderDataError,
    ImageFileError,
    KeyError,
    MGHError,
    OSError,
    OverflowError,
    ValueError,
    WrapStructError,
    zlib.error,
)
ImageSource = FilePath | SpatialImage  # the path of an image, or one of nibabel's images
IN_MEMORY = "an image in memory"  # instead of a path
MIN_SIZE = 5  # voxels along an axis: the derivatives of a field need them, see scripts.metrics.sdlogj
DISPLACEMENT_INTENT, VECTOR_INTENT = 1006, 1007  # NIfTI-1: displacement vectors, vectors of any kind


def source_name(source: ImageSource) -> str:
    """Path of an image, for messages; `IN_MEMORY` for one without a file."""
    if isinstance(source, SpatialImage):
        return source.get_filename() or IN_MEMORY
    return str(Path(source).expanduser())


def open_image(source: ImageSource) -> SpatialImage:
    """Open an image file of any format that nibabel reads; its voxels are not read yet. An opened image stays as it is.

    Raises:
        InputError: if the file is missing, cannot be opened, is empty, a pointer (see `existing_file`), a folder, a web
            page, DICOM, damaged, or otherwise no image.
    """
    if isinstance(source, SpatialImage):
        return source
    path, file = source, Path(source).expanduser()
    if file.is_dir() and _holds_dicom(file):
        raise InputError(f"{path}: a folder of DICOM files; convert it to NIfTI with dcm2niix")
    start = file_start(existing_file(path))
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{path}: a web page, not an image; did the download want a login? download it again")
    if _is_dicom(start):
        raise InputError(f"{path}: a DICOM file; convert the folder of its series to NIfTI with dcm2niix")
    try:
        image = nib.load(file)
    except DAMAGED as error:
        raise InputError(
            f"{path}: cannot be read as an image ({first_line(error)}); give NIfTI (.nii, .nii.gz) or .mgz"
        ) from error
    if not isinstance(image, SpatialImage):
        raise InputError(f"{path}: not a volume but {type(image).__name__}; give NIfTI (.nii, .nii.gz) or .mgz")
    return image


def open_volumes(source: ImageSource) -> SpatialImage:
    """Open an image of one or more 3-D volumes of real numbers; its voxels are not read yet.

    Raises:
        InputError: as `open_image`, or if it is a color image, a displacement field, or shorter than `MIN_SIZE` voxels
            along one of the first three axes.
    """
    image, path = open_image(source), source_name(source)
    shape, size = image.shape, size_text(image)
    kind = image.get_data_dtype()
    if kind.fields is not None:
        raise InputError(f"{path}: a color (RGB) image of {size} voxels; give a gray-value image with one 3-D volume")
    if kind.kind not in "buif":
        raise InputError(f"{path}: voxels of type {kind}; give an image of real numbers")
    if len(shape) == 5 and shape[3:] == (1, 3) and _intent(image) in (DISPLACEMENT_INTENT, VECTOR_INTENT):
        raise InputError(f"{path}: a displacement field, not an image; give a 3-D volume")
    if min(shape, default=0) == 0 or len(shape) < 3 or min(shape[:3]) < 2:
        long = sum(n > 1 for n in shape[:3])
        raise InputError(f"{path}: a {long}-D image ({size}); give a 3-D volume")
    if min(shape[:3]) < MIN_SIZE:
        raise InputError(f"{path}: only {min(shape[:3])} voxels along an axis ({size}); give at least {MIN_SIZE}")
    return image


def size_text(image: SpatialImage) -> str:
    """All axes of an image, for a message: `160x224x192`."""
    return "x".join(str(n) for n in image.shape)


def _intent(image: SpatialImage) -> int:
    return int(image.header["intent_code"]) if isinstance(image, nib.Nifti1Pair) else 0


def _is_dicom(start: bytes) -> bool:
    return start[128:132] == b"DICM"


def _holds_dicom(folder: Path) -> bool:
    """Whether one of a folder's first hundred files, at any depth, is DICOM."""
    files = (file for file in folder.rglob("*") if file.is_file())
    try:
        return any(_is_dicom(file_start(file)) for file in islice(files, 100))
    except OSError:
        return False
