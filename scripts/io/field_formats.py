# SPDX-License-Identifier: Apache-2.0
"""Transforms in the formats of other tools.

A format of fields is an array layout, a NIfTI intent, and two matrices that say what its vectors mean, see
`scripts.geometry.displacement`. `A_f`, `A_m` are the affines of the fixed and the moving image, `i` a voxel of the
fixed grid:

    itk        ITK, ANTs, greedy: displacement, LPS mm
    dispvect   FreeSurfer, 3D Slicer: displacement, RAS mm
    h5         ITK composite, see `scripts.io.itk`
    fsl        displacement in FSL's mm: voxel times voxel size, the first axis flipped where det A > 0
    learn2reg  displacement in voxels of the moving image
    monai      the same, as MONAI's `SaveImage` writes a field tensor and `Warp` takes it
    absolute   the moving point itself, RAS mm

Vectors are in mm, or in voxels, whatever unit a header gives for the positions of voxels, as in ITK.
"""

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from scripts.conventions import FieldFormat
from scripts.geometry import LPS, Field, Grid, Transform, as_field, from_displacement, to_displacement
from scripts.io.field_intents import INTENTS, field_format
from scripts.io.files import FilePath
from scripts.io.headers import find_grid
from scripts.io.itk import ITK_ENDINGS, check_itk_grid, read_itk_transform, save_field_h5
from scripts.io.nifti import read_vectors, save_vectors
from scripts.io.other_tools import refuse_other_tools
from scripts.io.plausible import check_plausible
from scripts.runtime import InputError

FIELD_FORMATS = get_args(FieldFormat)
_ON_FIXED_GRID = ("learn2reg", "monai")
_ON_BOTH_GRIDS = ("fsl", *_ON_FIXED_GRID)


def read_transform(
    path: FilePath,
    kind: str | None = None,
    fixed: Grid | None = None,
    moving: Grid | None = None,
    assume_ras: bool = False,
) -> Transform:
    """Read a transform from a file.

    Args:
        path: path of a field as NIfTI, or of an ITK transform file (`.mat`, `.tfm`, `.txt`, `.h5`).
        kind: one of `FIELD_FORMATS`; by default what the file's ending or its NIfTI intent says.
        fixed: grid of the fixed image; `learn2reg` and `monai` need it. All other fields lie where their own header
            says, by the rules of `find_space`; what is odd about it is printed.
        moving: grid of the moving image; `fsl`, `learn2reg` and `monai` need it.
        assume_ras: whether a field without orientation is taken as RAS, see `find_space`.

    Returns:
        The transform from fixed to moving points, RAS mm.

    Raises:
        InputError: if the file is missing, damaged or cut short, or another tool's that is not read (see
            `refuse_other_tools`), if its format cannot be told or is not the one that was named, if a field holds NaN
            or infinite values, lies at an unknown place or cannot be of its format (see `check_plausible`), or if a
            grid is missing or has another shape.
    """
    if kind not in (None, *FIELD_FORMATS):
        raise InputError(f"unknown format {kind}; choose one of {', '.join(FIELD_FORMATS)}")
    refuse_other_tools(path)
    if str(path).lower().endswith(ITK_ENDINGS):
        if kind not in (None, "h5", "itk"):
            raise InputError(
                f"{path}: this is an ITK transform file, not a field of format {kind}; leave the format out"
            )
        return read_itk_transform(path)
    if kind == "h5":
        raise InputError(f"{path}: the format h5 is a file that ends in .h5 or .hdf5; leave the format out")
    return _read_field(path, kind, fixed, moving, assume_ras)


def write_transform(path: FilePath, transform: Transform, kind: str, fixed: Grid, moving: Grid | None = None) -> None:
    """Write a transform as a field on the fixed image's grid.

    Args:
        path: path that ends in `.nii.gz` or `.nii`, in `.nii.gz` for `learn2reg`, in `.h5` for `h5`; its folder exists.
        transform: transform from fixed to moving points, RAS mm.
        kind: one of `FIELD_FORMATS`.
        fixed: grid of the fixed image.
        moving: grid of the moving image; `fsl`, `learn2reg` and `monai` need it.

    Raises:
        InputError: for an unknown format, a missing grid, a name or a sheared grid that the format does not allow, or
            if the file cannot be written.
    """
    if kind not in FIELD_FORMATS:
        raise InputError(f"unknown format {kind}; choose one of {', '.join(FIELD_FORMATS)}")
    if kind in ("itk", "dispvect", "h5"):
        check_itk_grid(path, fixed.affine)
    if kind == "learn2reg" and not str(path).endswith(".nii.gz"):
        raise InputError(f"{path}: Learn2Reg takes .nii.gz only; give a name that ends so")
    if kind == "h5":
        save_field_h5(path, as_field(transform, fixed))
        return
    base, to_world = _convention(path, kind, fixed, moving)
    field = as_field(transform, fixed)
    vectors = from_displacement(field.displacement, fixed.affine, base, to_world)
    if kind in ("itk", "dispvect"):
        vectors = vectors[:, :, :, None]
    save_vectors(path, vectors, fixed.affine, INTENTS.get(kind, 0))


def _read_field(path: FilePath, kind: str | None, fixed: Grid | None, moving: Grid | None, assume_ras: bool) -> Field:
    image, vectors = read_vectors(path)
    kind = field_format(path, image, kind)
    vectors = _arranged(path, vectors, kind, fixed)
    # Vectors in voxels often come without an orientation, and need none.
    grid = fixed if fixed and kind in _ON_FIXED_GRID else find_grid(image, path, assume_ras)
    base, to_world = _convention(path, kind, grid, moving)
    if kind == "fsl":
        _check_relative(path, vectors, base)
    field = Field(to_displacement(vectors, grid.affine, base, to_world), grid.affine)
    check_plausible(path, field)
    return field


def _arranged(path: FilePath, vectors: NDArray[np.float32], kind: str, fixed: Grid | None) -> NDArray[np.float32]:
    """Vectors as `(X, Y, Z, 3)`."""
    shape = vectors.shape
    if kind in _ON_FIXED_GRID:
        fixed = _needed(path, kind, "fixed", fixed)
        size = tuple(fixed.shape)
        if shape == (*size, 3):
            return vectors
        if shape == (3, *size):
            return np.moveaxis(vectors, 0, -1)
        raise InputError(f"{path}: a field of shape {shape} does not fit the fixed image's {size}; is it for another?")
    flat, series = (*shape[:3], 3), (*shape[:3], 1, 3)
    allowed = {"fsl": (flat,), "absolute": (flat, series)}.get(kind, (series,))
    if shape not in allowed:
        wanted = " or ".join("(X, Y, Z, 3)" if entry == flat else "(X, Y, Z, 1, 3)" for entry in allowed)
        raise InputError(f"{path}: not a field of format {kind}: its shape is {shape}, not {wanted}")
    return vectors.reshape(flat)


def _convention(path: FilePath, kind: str, fixed: Grid, moving: Grid | None) -> tuple[NDArray, NDArray]:
    """`base` and `to_world` of a format, as in `scripts.geometry.displacement`."""
    if kind in _ON_BOTH_GRIDS:
        moving = _needed(path, kind, "moving", moving)
        if kind == "fsl":
            return _fsl_mm(fixed), moving.affine @ np.linalg.inv(_fsl_mm(moving))
        return np.eye(4), moving.affine
    if kind == "itk":
        return LPS @ fixed.affine, LPS
    return (fixed.affine if kind == "dispvect" else np.zeros((4, 4))), np.eye(4)


def _fsl_mm(grid: Grid) -> NDArray[np.float64]:
    """Voxel to FSL's mm: scaled by the voxel size, the first axis flipped if the affine's determinant is positive."""
    zooms = grid.spacing
    matrix = np.diag([*zooms, 1.0])
    if np.linalg.det(grid.affine[:3, :3]) > 0:
        matrix[0, 0] = -zooms[0]
        matrix[0, 3] = (grid.shape[0] - 1) * zooms[0]
    return matrix


def _check_relative(path: FilePath, vectors: NDArray[np.float32], base: NDArray) -> None:
    """An FSL warp may hold positions as well, and nothing in its header says so; those vary like the voxels' own."""
    picked = vectors[::4, ::4, ::4]
    voxels = np.moveaxis(4 * np.indices(picked.shape[:3]), 0, -1)
    positions = voxels @ base[:3, :3].T
    if np.std(picked - positions, axis=(0, 1, 2)).sum() < np.std(picked, axis=(0, 1, 2)).sum():
        raise InputError(f"{path}: this FSL warp holds positions; make it relative with `convertwarp --abs --relout`")


def _needed(path: FilePath, kind: str, role: str, grid: Grid | None) -> Grid:
    if grid is None:
        raise InputError(f"{path}: fields of format {kind} depend on the {role} image's grid; give that image, too")
    return grid
