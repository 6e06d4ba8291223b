# SPDX-License-Identifier: Apache-2.0
"""Headers: where an image's voxels lie, read from them by one policy and written into new ones."""

import logging
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.analyze import AnalyzeImage
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import NDArray

from scripts.geometry import Grid, is_sheared, largest_cosine, largest_distance, voxel_sizes
from scripts.io.files import FilePath
from scripts.io.images import ImageSource, open_volumes, source_name
from scripts.runtime import InputError

logger = logging.getLogger(__name__)

_CODES = {1: "scanner", 2: "aligned", 3: "talairach", 4: "mni", 5: "template"}  # NIfTI-1, NIFTI_XFORM_*
_MILLIMETERS = {1: ("meters", 1000.0), 3: ("micrometers", 0.001)}  # NIfTI-1, the lowest three bits of xyzt_units
_PLAUSIBLE = (0.02, 30.0)  # mm, an edge of a voxel: from microscopy of a brain to the thickest slices
_SAME_FORMS = 0.1  # mm, between the voxels of two forms that agree
_SHEAR = 2e-4  # cosine between two axes; ITK 5.4 reads 1e-4 and refuses 3e-4
_SINGULAR = 1e-3  # determinant of the axes' directions: below, they lie in one plane

ASSUMED_RAS = "assumed RAS"  # the source of such a space
# What the other tools do was tried with nibabel 5.4, SimpleITK 2.5, antspyx 0.6 and fslpy 3.29.
NO_ORIENTATION = (
    "no orientation in the header; taken as RAS, its center at 0, as assume_ras says. Other tools place it elsewhere: "
    "ITK, ANTs and 3D Slicer from 0 on to the left, posterior and superior, nibabel mirrored, FSL nowhere in the world"
)

_Found = tuple[NDArray[np.float64], str, tuple[str, ...]]  # an affine, what said so, and warnings


class Space(NamedTuple):
    """Where voxels lie.

    Attributes:
        grid: grid of one volume, its affine float64, voxel to RAS mm.
        source: what said so, such as `sform (scanner)`.
        warnings: what is odd about the header, one line each.
    """

    grid: Grid
    source: str
    warnings: tuple[str, ...] = ()


def find_space(image: SpatialImage, path: FilePath, assume_ras: bool = False) -> Space:
    """The space of an image, series or field, by its header.

    The sform counts before the qform. Positions in meters or micrometers become mm, as in ITK.

    Args:
        image: image of any format that nibabel reads.
        path: path of its file, for messages.
        assume_ras: whether axes of unknown direction are taken as right, anterior, superior, with the origin at the
            center of the image, with a warning.

    Raises:
        InputError: if the header has no orientation (and `assume_ras` is not set), a singular affine, or voxel sizes
            that no brain scan has.
    """
    affine, source, warnings = _from_header(image, path, assume_ras)
    affine = np.asarray(affine, dtype=np.float64)
    unit, factor = _unit(image)
    if unit:
        affine = np.vstack([affine[:3] * factor, affine[3:]])
        warnings += (f"the header gives positions in {unit}; converted to mm",)
    _check(affine, path)
    shear = largest_cosine(affine)
    if shear > _SHEAR:
        warnings += (
            f"the voxel axes are sheared by {np.degrees(np.arcsin(shear)):.2g}°; "
            "ITK and ANTs refuse such a grid, or take its qform",
        )
    return Space(Grid(tuple(int(n) for n in image.shape[:3]), affine), source, warnings)


def find_grid(image: SpatialImage, path: FilePath, assume_ras: bool = False) -> Grid:
    """The grid of `find_space`; its warnings are logged.

    Args:
        image, path, assume_ras: as in `find_space`.

    Raises:
        InputError: as `find_space`.
    """
    space = find_space(image, path, assume_ras)
    for warning in space.warnings:
        logger.warning("%s: %s", path, warning)
    return space.grid


def read_grid(source: ImageSource, assume_ras: bool = False) -> Grid:
    """The grid of an image, or of a series' volumes; what is odd about its header is logged.

    Args:
        source: the image, of any format that nibabel reads.
        assume_ras: as in `find_space`.

    Raises:
        InputError: as `open_volumes` or `find_space`.
    """
    return find_grid(open_volumes(source), source_name(source), assume_ras)


def set_affine(header: nib.Nifti1Header, affine: NDArray, time_unit: str = "unknown") -> None:
    """Write where voxels lie into a NIfTI header: sform and qform, both with the code of a scanner, in mm.

    Args:
        header: header to change.
        affine: `(4, 4)`, voxel to RAS mm.
        time_unit: unit of the distance between volumes, as nibabel names it.
    """
    header.set_sform(affine, code=1)
    # A quaternion cannot hold shear, and a qform without it would contradict the sform: then the sform stands alone.
    header.set_qform(affine, code=0 if is_sheared(affine) else 1)
    header.set_xyzt_units("mm", time_unit)


def _from_header(image: SpatialImage, path: FilePath, assume_ras: bool) -> _Found:
    if isinstance(image, nib.Nifti1Pair):
        return _nifti_space(image, path, assume_ras)
    if not isinstance(image, AnalyzeImage):
        return image.affine, f"{type(image).__name__.removesuffix('Image')} header", ()
    if assume_ras:
        return _assumed_ras(image)
    axes = Grid(image.shape[:3], image.affine).orientation
    warning = f"the Analyze format does not say where the axes point; taken as {axes}, left and right may be swapped"
    return image.affine, f"Analyze, taken as {axes}", (warning,)


def _nifti_space(image: nib.Nifti1Pair, path: FilePath, assume_ras: bool) -> _Found:
    header = image.header
    sources = {}
    for form in ("sform", "qform"):
        code = int(header[f"{form}_code"])
        if code:
            sources[form] = f"{form} ({_CODES[code]})"  # nibabel takes other codes as 0
    if not sources:
        if assume_ras:
            return _assumed_ras(image)
        raise InputError(
            f"{path}: the header has no sform and no qform, so left and right are unknown; "
            "give --assume_ras if the axes point right, anterior and superior, or repair the header"
        )
    if "sform" not in sources:
        return header.get_qform(), sources["qform"], ()
    sform = header.get_sform()
    return sform, sources["sform"], _other_form(image, sform) if "qform" in sources else ()


def _other_form(image: nib.Nifti1Pair, sform: NDArray) -> tuple[str, ...]:
    """What is odd about the qform beside an sform."""
    try:
        qform = image.header.get_qform()
    except (HeaderDataError, ValueError):
        return ("the qform is not valid; the sform is used",)
    distance = _unit(image)[1] * largest_distance(Grid(image.shape[:3], sform), qform)
    if distance <= _SAME_FORMS or not np.isfinite(distance):
        return ()
    return (f"sform and qform differ by up to {distance:.3g} mm and {_turn(sform, qform)}; the sform is used",)


def _turn(first: NDArray, second: NDArray) -> str:
    """The angle between two affines' axes, or that one mirrors the other."""
    rotations = []
    for affine in (first, second):
        left, _, right = np.linalg.svd(affine[:3, :3])
        rotations.append(left @ right)  # the nearest orthogonal matrix
    relative = rotations[0] @ rotations[1].T
    if np.linalg.det(relative) < 0:
        return "by a mirroring"
    return f"{np.degrees(np.arccos(np.clip((np.trace(relative) - 1) / 2, -1, 1))):.1f}°"


def _assumed_ras(image: SpatialImage) -> _Found:
    sizes = np.abs(np.asarray(image.header.get_zooms()[:3], dtype=np.float64))
    center = (np.array(image.shape[:3]) - 1) / 2.0
    return nib.affines.from_matvec(np.diag(sizes), -sizes * center), ASSUMED_RAS, (NO_ORIENTATION,)


def _unit(image: SpatialImage) -> tuple[str, float]:
    if not isinstance(image, nib.Nifti1Pair):
        return "", 1.0
    return _MILLIMETERS.get(int(image.header["xyzt_units"]) & 7, ("", 1.0))


def _check(affine: NDArray[np.float64], path: FilePath) -> None:
    sizes = voxel_sizes(affine)
    if not np.isfinite(affine).all() or not (sizes > 0).all() or abs(np.linalg.det(affine[:3, :3] / sizes)) < _SINGULAR:
        raise InputError(f"{path}: the header's affine is singular or not finite; repair sform and qform")
    sizes_text = "x".join(f"{size:.4g}" for size in sizes)
    if sizes.min() < _PLAUSIBLE[0] or sizes.max() > _PLAUSIBLE[1]:
        raise InputError(
            f"{path}: voxels of {sizes_text} mm are not those of a brain scan; "
            "are they micrometers or meters? correct the header"
        )
