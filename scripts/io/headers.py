"""Where an image's voxels lie: from what a header says to one affine, RAS mm, and what is odd about it."""

from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.analyze import AnalyzeImage
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import NDArray

from scripts.geometry import Grid, largest_cosine, largest_distance, voxel_sizes
from scripts.runtime import InputError

_CODES = {1: "scanner", 2: "aligned", 3: "talairach", 4: "mni", 5: "template"}  # NIfTI-1, NIFTI_XFORM_*
_MILLIMETRES = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}  # NIfTI-1, the lowest three bits of xyzt_units
_PLAUSIBLE = (0.02, 30.0)  # mm, an edge of a voxel: from microscopy of a brain to the thickest slices
_SAME_FORMS = 0.1  # mm
_SHEAR = 2e-4  # cosine between two axes; ITK 5.4 reads 1e-4 and refuses 3e-4
_SINGULAR = 1e-3  # determinant of the axes' directions


class Space(NamedTuple):
    """Where voxels lie.

    Attributes:
        affine: `(4, 4)` float64, voxel to RAS mm.
        source: what said so, such as `sform (scanner)`.
        warnings: one line each.
    """

    affine: NDArray[np.float64]
    source: str
    warnings: tuple[str, ...] = ()


def find_space(image: SpatialImage, path: str | Path, assume_ras: bool = False) -> Space:
    """The space of an image.

    Args:
        image: any that nibabel reads.
        path: of its file, for messages.
        assume_ras: where the header does not say how the axes point, take them as RAS, with the origin at the centre
            (as nibabel centres such images).

    Raises:
        InputError: if the header has no orientation (and `assume_ras` is not set), a singular affine, or voxel sizes
            that no brain scan has.
    """
    space = _from_header(image, path, assume_ras)
    affine = np.asarray(space.affine, dtype=np.float64)
    warnings = [*space.warnings]
    unit, factor = _unit(image)
    if unit:
        affine = np.vstack([affine[:3] * factor, affine[3:]])
        warnings.append(f"the header gives positions in {unit}; converted to mm")
    _check(affine, path)
    shear = largest_cosine(affine)
    if shear > _SHEAR:
        warnings.append(
            f"the voxel axes are sheared by {np.degrees(np.arcsin(shear)):.2g}°; "
            "ITK and ANTs refuse such a grid, or take its qform"
        )
    return Space(affine, space.source, tuple(warnings))


def _from_header(image: SpatialImage, path: str | Path, assume_ras: bool) -> Space:
    if isinstance(image, nib.Nifti1Pair):
        return _nifti_space(image, path, assume_ras)
    if not isinstance(image, AnalyzeImage):
        return Space(image.affine, f"{type(image).__name__.removesuffix('Image')} header")
    if assume_ras:
        return _assumed_ras(image)
    axes = Grid(image.shape[:3], image.affine).orientation
    warning = f"the Analyze format does not say where the axes point; taken as {axes}, left and right may be swapped"
    return Space(image.affine, f"Analyze, taken as {axes}", (warning,))


def _nifti_space(image: nib.Nifti1Pair, path: str | Path, assume_ras: bool) -> Space:
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
        return Space(header.get_qform(), sources["qform"])
    sform = header.get_sform()
    return Space(sform, sources["sform"], _other_form(image, sform) if "qform" in sources else ())


def _other_form(image: nib.Nifti1Pair, sform: NDArray) -> tuple[str, ...]:
    """What is odd about the qform beside an sform."""
    try:
        qform = image.header.get_qform()
    except (HeaderDataError, ValueError):
        return ("the qform is not valid; the sform is used",)
    distance = largest_distance(Grid(image.shape[:3], sform), qform)
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


def _assumed_ras(image: SpatialImage) -> Space:
    sizes = np.abs(np.asarray(image.header.get_zooms()[:3], dtype=np.float64))
    centre = (np.array(image.shape[:3]) - 1) / 2.0
    return Space(nib.affines.from_matvec(np.diag(sizes), -sizes * centre), "assumed RAS")


def _unit(image: SpatialImage) -> tuple[str, float]:
    if not isinstance(image, nib.Nifti1Pair):
        return "", 1.0
    return _MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, ("", 1.0))


def _check(affine: NDArray[np.float64], path: str | Path) -> None:
    sizes = voxel_sizes(affine)
    if not np.isfinite(affine).all() or not (sizes > 0).all() or abs(np.linalg.det(affine[:3, :3] / sizes)) < _SINGULAR:
        raise InputError(f"{path}: the header's affine is singular or not finite; repair sform and qform")
    sizes_text = "x".join(f"{size:.4g}" for size in sizes)
    if sizes.min() < _PLAUSIBLE[0] or sizes.max() > _PLAUSIBLE[1]:
        raise InputError(
            f"{path}: voxels of {sizes_text} mm are not those of a brain scan; "
            "are they micrometres or metres? correct the header"
        )
