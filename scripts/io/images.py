"""What a user's file is: there, readable, and an image of one kind of number in three dimensions."""

import hashlib
from itertools import islice
from pathlib import Path

import nibabel as nib
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import SpatialImage

from scripts.io.opening import UNREADABLE, existing_file
from scripts.runtime import InputError, first_line

# what nibabel raises for damaged files; the last three for numbers in a header that make no sense
DAMAGED = (*UNREADABLE, KeyError, MGHError, OverflowError)
MIN_SIZE = 5  # what the derivatives of a field need, see scripts.metrics.sdlogj
_VECTOR_INTENTS = (1006, 1007)  # NIfTI: displacement vectors, vectors


def open_image(path: str | Path) -> SpatialImage:
    """The header of an image of real numbers with three long axes; the voxels are not read yet.

    Raises:
        InputError: if the file is no such image.
    """
    file = Path(path).expanduser()
    if file.is_dir() and _holds_dicom(file):
        raise InputError(f"{path}: a folder of DICOM files; convert it to NIfTI with dcm2niix")
    head = _head(existing_file(path), path)
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{path}: a web page, not an image; did the download want a login? download it again")
    if _is_dicom(head):
        raise InputError(f"{path}: a DICOM file; convert the folder of its series to NIfTI with dcm2niix")
    try:
        image = nib.load(file)
    except DAMAGED as error:
        raise InputError(
            f"{path}: cannot be read as an image ({first_line(error)}); give NIfTI (.nii, .nii.gz) or .mgz"
        ) from error
    if not isinstance(image, SpatialImage):
        raise InputError(f"{path}: not a volume but {type(image).__name__}; give NIfTI (.nii, .nii.gz) or .mgz")
    _check_kind(image, path)
    return image


def size_text(image: SpatialImage) -> str:
    """All axes of an image, for a message: `160x224x192`."""
    return "x".join(str(n) for n in image.shape)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
        InputError: if the file cannot be read, see `existing_file`.
    """
    digest = hashlib.sha256()
    with existing_file(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _head(file: Path, path: str | Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(1024)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error


def _check_kind(image: SpatialImage, path: str | Path) -> None:
    shape, size = image.shape, size_text(image)
    kind = image.get_data_dtype()
    if kind.fields is not None:
        raise InputError(f"{path}: a colour (RGB) image of {size} voxels; give a grey-value image with one 3-D volume")
    if kind.kind not in "buif":
        raise InputError(f"{path}: voxels of type {kind}; give an image of real numbers")
    if len(shape) == 5 and shape[3:] == (1, 3) and _intent(image) in _VECTOR_INTENTS:
        raise InputError(f"{path}: a displacement field, not an image; give a 3-D volume")
    if min(shape, default=0) == 0 or len(shape) < 3 or min(shape[:3]) < 2:
        long = sum(n > 1 for n in shape[:3])
        raise InputError(f"{path}: a {long}-D image ({size}); give a 3-D volume")
    if min(shape[:3]) < MIN_SIZE:
        raise InputError(f"{path}: only {min(shape[:3])} voxels along an axis ({size}); give at least {MIN_SIZE}")


def _intent(image: SpatialImage) -> int:
    return int(image.header["intent_code"]) if isinstance(image, nib.Nifti1Pair) else 0


def _is_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM"


def _holds_dicom(folder: Path) -> bool:
    """Whether one of a folder's first hundred files, at any depth, is DICOM."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return any(_is_dicom(_head(file, file)) for file in islice(files, 100))
