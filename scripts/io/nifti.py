# SPDX-License-Identifier: Apache-2.0
"""Images and fields as NIfTI files."""

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from scripts.geometry import LPS_SIGNS
from scripts.io.files import FilePath
from scripts.io.headers import set_affine
from scripts.io.images import VECTOR_INTENT, open_image
from scripts.io.voxels import check_gzip, read_values, stored
from scripts.io.writing import whole_file
from scripts.runtime import InputError


def read_vectors(path: FilePath) -> tuple[nib.Nifti1Image, NDArray[np.float32]]:
    """Read the vectors of a NIfTI as they are stored.

    Args:
        path: path of the field.

    Returns:
        The opened image, for its header, and its content, float32 of any shape.

    Raises:
        InputError: if the file is missing, damaged, cut short or no NIfTI, or holds NaN or infinite values.
    """
    image = open_image(path)
    if not isinstance(image, nib.Nifti1Image):
        raise InputError(f"{path}: not a NIfTI but {type(image).__name__}; a field is read from .nii or .nii.gz")
    if image.get_data_dtype().kind not in "iuf":
        raise InputError(f"{path}: not a field: its voxels are of type {image.get_data_dtype()}")
    check_gzip(image, path)
    vectors = read_values(image.dataobj, path, dtype=np.float32)
    check_finite(path, vectors)
    return image, vectors


def check_finite(path: FilePath, values: NDArray) -> None:
    """Refuse a field with values that are missing.

    Args:
        path: path of its file, for the message.
        values: values of the field, of any shape.

    Raises:
        InputError: if a value is NaN or infinite.
    """
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise InputError(f"{path}: {bad} values of the field are NaN or infinite; write it again without them")


def save_image(
    path: FilePath,
    array: NDArray,
    affine: NDArray,
    dtype: DTypeLike | None = None,
    slope: float = 1.0,
    inter: float = 0.0,
) -> None:
    """Write an image or a series as NIfTI, such that a reader gets the values of `array`.

    Args:
        path: path that ends in `.nii` or `.nii.gz`; its folder exists.
        array: values, `(X, Y, Z)` or `(X, Y, Z, N)`.
        affine: `(4, 4)`, voxel to RAS mm.
        dtype: type of the stored numbers; for integers, values are rounded and clipped to what it holds. None is the
            array's own type, except for types that other tools do not read: bool becomes uint8, 64-bit integers become
            32-bit ones if they fit, float16 becomes float32.
        slope: scl_slope of the header, not 0: `value = slope * stored + inter`.
        inter: scl_inter of the header.

    Raises:
        InputError: for another ending, or if the file cannot be written.
    """
    stored_type = _portable_type(array) if dtype is None else np.dtype(dtype)
    image = nifti_image(stored(array, stored_type, slope, inter), affine)
    if (slope, inter) != (1.0, 0.0):
        # nibabel then writes the numbers as they are.
        image.header.set_slope_inter(slope, inter)
    _write(image, path)


def save_itk_field(path: FilePath, displacement: NDArray, affine: NDArray) -> None:
    """Write a displacement field as an ITK vector NIfTI, which ANTs, greedy and 3D Slicer read, too.

    Args:
        path: path that ends in `.nii` or `.nii.gz`; its folder exists.
        displacement: displacement vectors, `(X, Y, Z, 3)`, RAS mm.
        affine: `(4, 4)`, voxel of the fixed image to RAS mm. ITK refuses to read a sheared one.

    Raises:
        ValueError: if `displacement` does not have this shape.
        InputError: for another ending, or if the file cannot be written.
    """
    if displacement.ndim != 4 or displacement.shape[3] != 3:
        raise ValueError(f"expected a displacement (X, Y, Z, 3), got shape {displacement.shape}")
    # ITK's world is LPS; with another intent than this it reads a 5-D scalar image.
    save_vectors(path, (displacement * LPS_SIGNS).astype(np.float32)[:, :, :, None], affine, VECTOR_INTENT)


def save_vectors(path: FilePath, vectors: NDArray[np.float32], affine: NDArray, intent: int) -> None:
    """Write vectors as they are.

    Args:
        path: path that ends in `.nii` or `.nii.gz`; its folder exists.
        vectors: content of the file, of any shape.
        affine: `(4, 4)`, voxel to RAS mm.
        intent: NIfTI intent code, 0 for none.

    Raises:
        InputError: for an ending other than `.nii` and `.nii.gz`, or if the file cannot be written.
    """
    image = nifti_image(vectors, affine)
    image.header.set_intent(intent)
    _write(image, path)


def _portable_type(array: NDArray) -> np.dtype:
    if array.dtype == bool:
        return np.dtype(np.uint8)
    if array.dtype == np.float16:
        return np.dtype(np.float32)
    if array.dtype in (np.int64, np.uint64):
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        fitting = (kind for kind in (np.int32, np.uint32) if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
        return np.dtype(next(fitting, array.dtype))
    return array.dtype


def nifti_image(array: NDArray, affine: NDArray) -> nib.Nifti1Image:
    """An image in memory.

    Args:
        array: `(X, Y, Z)` or `(X, Y, Z, N)`.
        affine: `(4, 4)`, voxel to RAS mm.
    """
    header = nib.Nifti1Header()
    set_affine(header, affine)
    # The type is named because nibabel takes 64-bit integers only then.
    return nib.Nifti1Image(array, affine, header, dtype=array.dtype)


def _write(image: nib.Nifti1Image, path: FilePath) -> None:
    if not str(path).lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: a NIfTI is to be written; give a name that ends in .nii.gz or .nii")
    with whole_file(path) as file:
        image.to_filename(file)
