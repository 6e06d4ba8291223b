"""NIfTI files: images, and displacement fields as ITK, ANTs, greedy and 3D Slicer read and write them.

An ITK field is a NIfTI of shape `(X, Y, Z, 1, 3)` and intent 1007 (vector) on the fixed grid, holding
`(-u_x, -u_y, u_z)` for the RAS displacement `u` in mm: ITK's world is LPS. With another intent ITK reads a 5-D scalar
image. A file appears under its name only when it is complete.
"""

import os
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

_VECTOR_INTENT = 1007
_LPS = np.array([-1, -1, 1], dtype=np.float32)


def save_image(path: str | os.PathLike[str], array: NDArray, affine: NDArray) -> None:
    """Write an image as NIfTI.

    Args:
        path: ends in `.nii` or `.nii.gz`; its folder exists.
        array: `(X, Y, Z)`, in a data type that NIfTI knows and others read (so neither bool nor int64).
        affine: `(4, 4)`, voxel to RAS mm.

    Raises:
        ValueError, nibabel.spatialimages.HeaderDataError: for a data type as above.
        nibabel.filebasedimages.ImageFileError: for another ending.
    """
    _write(_nifti(array, affine), Path(path))


def save_itk_field(path: str | os.PathLike[str], displacement: NDArray, affine: NDArray) -> None:
    """Write a displacement field as an ITK vector NIfTI.

    Args:
        path: ends in `.nii` or `.nii.gz`; its folder exists.
        displacement: `(X, Y, Z, 3)`, RAS mm.
        affine: `(4, 4)`, voxel to RAS mm, of the fixed image. ITK refuses to read a sheared one.

    Raises:
        ValueError: if `displacement` does not have this shape.
        nibabel.filebasedimages.ImageFileError: for another ending.
    """
    if displacement.ndim != 4 or displacement.shape[3] != 3:
        raise ValueError(f"expected a displacement (X, Y, Z, 3), got shape {displacement.shape}")
    image = _nifti((displacement.astype(np.float32) * _LPS)[:, :, :, None], affine)
    image.header.set_intent(_VECTOR_INTENT)
    _write(image, Path(path))


def load_itk_field(path: str | os.PathLike[str]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read a displacement field from an ITK vector NIfTI.

    Returns:
        The displacement `(X, Y, Z, 3)` in RAS mm, and the affine `(4, 4)` of its grid.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or is not an ITK field. NiftyReg's fields have the same intent but are RAS
            (they name it `NREG_TRANS`), so they are refused, too.
    """
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):
            raise ValueError(f"{path} is not a NIfTI file")
        _check_itk_field(path, image)
        vectors = np.asarray(image.dataobj, dtype=np.float32)
    except FileNotFoundError:
        raise
    except (ImageFileError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return vectors[:, :, :, 0] * _LPS, image.affine


def _check_itk_field(path: str | os.PathLike[str], image: nib.Nifti1Image) -> None:
    intent = int(image.header["intent_code"])
    name = image.header.get_intent()[2]
    if intent != _VECTOR_INTENT or name == "NREG_TRANS":
        raise ValueError(
            f"{path} is not an ITK displacement field: "
            f"its NIfTI intent is {intent} {name!r}, not {_VECTOR_INTENT} (vector)"
        )
    if len(image.shape) != 5 or image.shape[3:] != (1, 3):
        raise ValueError(f"{path} is not an ITK displacement field: its shape is {image.shape}, not (X, Y, Z, 1, 3)")


def _nifti(array: NDArray, affine: NDArray) -> nib.Nifti1Image:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    # A quaternion cannot hold shear, and a qform without it would contradict the sform: then the sform stands alone.
    image.set_qform(affine, code=0 if _is_sheared(affine) else 1)
    image.set_sform(affine, code=1)
    return image


def _is_sheared(affine: NDArray) -> bool:
    """Whether the axes are not at right angles, beyond the rounding of an affine that was read from a header."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return not np.allclose(directions.T @ directions, np.eye(3), atol=1e-5)


def _write(image: nib.Nifti1Image, path: Path) -> None:
    """Write beside the destination, then rename: whatever stops the writing, no half file takes the final name."""
    with TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        unfinished = Path(folder) / path.name
        image.to_filename(unfinished)
        os.replace(unfinished, path)
