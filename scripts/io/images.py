# SPDX-License-Identifier: Apache-2.0
"""The opener of image files: what is no image, or not the kind of image that is wanted, is refused in one line."""

import os
import zlib
from itertools import islice
from pathlib import Path

import nibabel as nib
from nibabel.brikhead import AFNIImage
from nibabel.filebasedimages import FileBasedImage, ImageFileError
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
_GZIP = b"\x1f\x8b"
_PACKED = {".nii": ".nii.gz", ".mgh": ".mgz", ".img": ".img.gz", ".hdr": ".hdr.gz"}  # name without and with gzip
_UNPACKED = {packed: plain for plain, packed in _PACKED.items()}
_IN_TWO_FILES: dict[str, type[FileBasedImage]] = {
    ".img": nib.Nifti1Pair,
    ".hdr": nib.Nifti1Pair,
    ".head": AFNIImage,
    ".brik": AFNIImage,
}
_NIFTI_1, _NIFTI_2 = 348, 540  # the first number of such a file, the size of its header; Analyze has that of NIfTI-1
_MGH = b"\0\0\0\1"


def source_name(source: ImageSource) -> str:
    """Path of an image, for messages; `IN_MEMORY` for one without a file."""
    if isinstance(source, SpatialImage):
        return source.get_filename() or IN_MEMORY
    return str(Path(source).expanduser())


def open_image(source: ImageSource) -> SpatialImage:
    """Open an image file of any format that nibabel reads; its voxels are not read yet. An opened image stays as it is.

    Raises:
        InputError: if the file is missing, cannot be opened, is empty, a pointer (see `existing_file`), a folder, a web
            page, a ZIP archive, DICOM, one of two files whose other is not there, compressed or not in spite of its
            name, damaged, or otherwise no image.
    """
    if isinstance(source, SpatialImage):
        return source
    path, file = source, Path(source).expanduser()
    if file.is_dir() and _holds_dicom(file):
        raise InputError(f"{path}: a folder of DICOM files; convert it to NIfTI with dcm2niix")
    start = file_start(existing_file(path))
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{path}: a web page, not an image; did the download want a login? download it again")
    if start.startswith(b"PK\x03\x04"):
        raise InputError(f"{path}: a ZIP archive; unpack it and give the image in it")
    if _is_dicom(start):
        raise InputError(f"{path}: a DICOM file; convert the folder of its series to NIfTI with dcm2niix")
    _check_packing(path, file, start)
    _check_partner(path, file)
    try:
        image = nib.load(file)
    except DAMAGED as error:
        raise InputError(
            f"{path}: cannot be read as an image ({first_line(error)}); give NIfTI (.nii, .nii.gz) or .mgz"
        ) from error
    if not isinstance(image, SpatialImage):
        raise InputError(f"{path}: not a volume but {type(image).__name__}; give NIfTI (.nii, .nii.gz) or .mgz")
    return image


def image_files(path: FilePath) -> list[Path]:
    """The files that hold an image: the one, or both of a pair, such as `.hdr` and `.img`, and the `.mat` beside them.

    Args:
        path: path of one of them; a leading `~` is the home folder. Any other file is alone, whatever it holds.
    """
    file = Path(path).expanduser()
    found = {file}
    for kind in nib.all_image_classes:
        try:
            names = {holder.filename for holder in kind.filespec_to_file_map(str(file)).values()}
        except ImageFileError:
            continue  # no name of this kind of image
        if str(file) in names:  # without an ending, nibabel adds some
            found |= {Path(name) for name in names if name and os.path.exists(name)}
    return sorted(found)


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


def _check_packing(path: FilePath, file: Path, start: bytes) -> None:
    """Refuse a file that is compressed, or not, in spite of its name, by which nibabel goes."""
    name = file.name.lower()
    is_packed = start.startswith(_GZIP)
    for ending, other in (_PACKED if is_packed else _UNPACKED).items():
        if name.endswith(ending) and (is_packed or _is_plain(start)):
            state = "compressed with gzip" if is_packed else "not compressed"
            raise InputError(f"{path}: {state}, though its name ends in {ending}; rename it to end in {other}")


def _is_plain(start: bytes) -> bool:
    """Whether this is how a NIfTI, Analyze or .mgh file begins."""
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    return bool(sizes & {_NIFTI_1, _NIFTI_2}) or start[:4] == _MGH


def _check_partner(path: FilePath, file: Path) -> None:
    """Refuse one of the two files of an image, header and voxels, where the other is not there."""
    kind = _IN_TWO_FILES.get(Path(file.name.lower().removesuffix(".gz")).suffix)
    if kind is None:
        return
    for part, holder in kind.filespec_to_file_map(file).items():
        partner = Path(str(holder.filename))
        if not os.path.lexists(partner):
            what = "its header" if part == "header" else "the file of its voxels"
            raise InputError(
                f"{path}: one of the two files of an image; {what}, {partner.name}, is not beside it; add it"
            )
        existing_file(partner)


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
