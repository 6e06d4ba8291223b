# SPDX-License-Identifier: Apache-2.0
"""Use of saved transforms: warp images, map points, convert formats, Jacobian determinant.

In the place of an image, `mni152` stands for the template.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.geometry import Chain, Field, Grid, Transform, as_field, jacobian_map, resample, value_outside
from scripts.io import (
    Points,
    Series,
    check_folder,
    check_output,
    holds_labels,
    image_path,
    open_series,
    read_grid,
    read_points,
    read_transform,
    save_image,
    save_series,
    scan_name,
    write_points,
    write_transform,
)
from scripts.registration.landmarks import match_landmarks, match_warnings
from scripts.runtime import InputError

Paths = str | Sequence[str]

logger = logging.getLogger(__name__)

IMAGE_ENDINGS = (".nii", ".nii.gz")


def apply(
    transform: Paths,
    input: Paths,
    reference: str,
    output: str,
    interpolation: str = "auto",
    inverse: bool = False,
    assume_ras: bool = False,
) -> None:
    """Resample images on a reference grid.

    The data type of each image is kept, with its slope, and the time step of a series. Outside an image the result is
    0, as in ANTs, or the smallest value of an image whose values are all on one side of 0. In linear interpolation,
    voxels that are not finite count as 0.

    Args:
        transform: transform file, or several, which are applied to the reference's points in this order, as in
            `antsApplyTransforms -t warp -t affine`.
        input: images, 4-D series or label maps in the space that the transform maps to.
        reference: image that defines the grid.
        output: file for one input; for several, a folder where they keep their names.
        interpolation: `linear`, `nearest`, or `auto`: nearest for label maps (see `holds_labels`), else linear.
        inverse: whether to invert the transform, so that the reference is in its moving space.
        assume_ras: whether to take files without a world space as RAS, see `find_space`.

    Raises:
        InputError: if a file is bad, the output cannot be written or would overwrite an input, or with `auto` an input
            cannot be told to hold labels or intensities.
    """
    transforms, inputs = _paths(transform), [image_path(path) for path in _paths(input)]
    reference = image_path(reference)
    outputs = _outputs(inputs, output)
    for path in outputs:
        check_output(path, [*transforms, *inputs, reference], IMAGE_ENDINGS)
    grid = read_grid(reference, assume_ras)
    images = [open_series(path, assume_ras) for path in inputs]
    whole = composed(transforms, inverse, assume_ras)
    modes = [interpolation_mode(image, interpolation) for image in images]
    whole = computed_once(whole, grid, images)
    for image, mode, path in zip(images, modes, outputs, strict=True):
        save_series(path, moved_volumes(image, grid, whole, mode), grid, image)
        print(f"{path}: {mode} interpolation" + (f", {image.count} volumes" if image.count else ""), flush=True)


def points(
    transform: Paths,
    input: str,
    output: str,
    space: str | None = None,
    to: str | None = None,
    inverse: bool = False,
    assume_ras: bool = False,
) -> None:
    """Map landmarks from the fixed to the moving space: the opposite direction of images.

    Points in the moving space need `inverse`, or the inverse field.

    Args:
        transform: transform file, or several, as in `apply`.
        input: file of `read_points`, mm, in the space that the transform maps from.
        output: CSV file to write, with the columns of the input.
        space: world space of the positions in all these files, `ras` or `lps`; by default what they say, or RAS.
        to: file of the same landmarks in the other space, see `match_landmarks`. Prints the target registration error
            and adds the columns `distance_before_mm` and `distance_mm` to the output.
        inverse: whether to invert the transform, so that it maps points of the moving space.
        assume_ras: whether to take a field without a world space as RAS, see `find_space`.

    Raises:
        InputError: if a file is bad, or the output cannot be written or would overwrite an input.
    """
    transforms = _paths(transform)
    check_output(output, [*transforms, input, *([to] if to else [])], (".csv",))
    start = _read_points(input, space)
    target = _partners(start, _read_points(to, space), (input, to)) if to else None
    end = replace(start, positions=composed(transforms, inverse, assume_ras)(start.positions))
    columns = {}
    if target is not None:
        for when, column, found in (("before", "distance_before_mm", start), ("after", "distance_mm", end)):
            columns[column] = np.linalg.norm(found.positions - target, axis=1)
            known = columns[column][~np.isnan(columns[column])]
            errors = f"mean {known.mean():.3f}, median {np.median(known):.3f}, max {known.max():.3f} mm"
            print(f"TRE {when}: {errors}, {len(known)} of {len(target)} landmarks")
    write_points(output, end, space, columns)
    print(f"{output}: {len(end.names)} landmarks")


def convert(
    transform: str,
    output: str,
    to: str,
    source: str | None = None,
    fixed: str | None = None,
    moving: str | None = None,
    assume_ras: bool = False,
) -> None:
    """Write a transform in another format.

    Args:
        transform: transform file.
        output: file to write.
        to: format of the output, from `FIELD_FORMATS`.
        source: format of the transform, from `FIELD_FORMATS`; by default found from the file.
        fixed: fixed image; by default the grid of the field.
        moving: moving image, if a format needs it.
        assume_ras: whether to take files without a world space as RAS, see `find_space`.

    Raises:
        InputError: if a file is bad, or a format needs an image that is not given.
    """
    fixed, moving = image_path(fixed), image_path(moving)
    check_output(output, [path for path in (transform, fixed, moving) if path])
    fixed_grid, moving_grid = (read_grid(path, assume_ras) if path else None for path in (fixed, moving))
    read = read_transform(transform, source, fixed_grid, moving_grid, assume_ras)
    write_transform(output, read, to, fixed_grid or own_grid(read, transform, "--fixed"), moving_grid)
    print(f"{output}: {to}")


def jacobian(transform: Paths, output: str, reference: str | None = None, assume_ras: bool = False) -> None:
    """Write the determinant of a transform's Jacobian, dT/dx, in the fixed space.

    Args:
        transform: transform file, or several, as in `apply`.
        output: NIfTI file to write, float32.
        reference: image that defines the grid; by default that of the field.
        assume_ras: whether to take files without a world space as RAS, see `find_space`.

    Raises:
        InputError: if a file is bad, or there is neither a reference nor a field with a grid.
    """
    transforms, reference = _paths(transform), image_path(reference)
    check_output(output, [*transforms, *([reference] if reference else [])], IMAGE_ENDINGS)
    whole = composed(transforms, assume_ras=assume_ras)
    grid = read_grid(reference, assume_ras) if reference else own_grid(whole, transforms[0], "--reference")
    determinant = jacobian_map(as_field(whole, grid))
    save_image(output, determinant.astype(np.float32), grid.affine)
    folded = 100 * np.mean(determinant <= 0)
    print(f"{output}: {determinant.min():.3f} to {determinant.max():.3f}, {folded:.2g} % of the voxels are folded")


def _paths(text: Paths) -> list[str]:
    """Paths of a list, or of a text with commas between; a single existing file may have commas in its name."""
    if not isinstance(text, str):
        return [str(path) for path in text]
    return [text] if Path(text).exists() else text.split(",")


def _outputs(inputs: Sequence[str], output: str) -> list[str]:
    """Path of the result of each input."""
    if len(inputs) == 1:
        return [output]
    if output.endswith(IMAGE_ENDINGS):
        raise InputError(f"{output}: {len(inputs)} inputs go into a folder; give --output the name of one")
    names = [Path(path).name if path.endswith(IMAGE_ENDINGS) else f"{scan_name(path)}.nii.gz" for path in inputs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name}: several inputs have this name; give them one at a time")
    check_folder(output)
    Path(output).mkdir(parents=True, exist_ok=True)
    return [str(Path(output) / name) for name in names]


def composed(paths: Sequence[str], inverse: bool = False, assume_ras: bool = False) -> Transform:
    """The transforms of several files as one, the first file's applied first."""
    read = [read_transform(path, assume_ras=assume_ras) for path in paths]
    whole = read[0] if len(read) == 1 else Chain(read[::-1])
    return whole.inverse() if inverse else whole


def own_grid(transform: Transform, path: str, option: str) -> Grid:
    """The grid of the field that a transform applies first."""
    while isinstance(transform, Chain):
        transform = transform.transforms[-1]
    if not isinstance(transform, Field):
        raise InputError(f"{path}: has no grid of its own; give {option} an image that has it")
    return transform.grid


def interpolation_mode(image: Series, interpolation: str) -> str:
    """`linear` or `nearest`; for `auto` nearest if an image holds labels (see `holds_labels`).

    Raises:
        InputError: for `auto`, if it cannot be told what the image holds, or the file is damaged.
    """
    if interpolation != "auto":
        return interpolation
    labels = holds_labels(image)
    if labels is None:
        raise InputError(
            f"{image.path}: its values may be labels or intensities; "
            "give --interpolation nearest for labels, linear for intensities"
        )
    return "nearest" if labels else "linear"


def computed_once(transform: Transform, grid: Grid, images: Sequence[Series]) -> Transform:
    """A transform for all volumes of some images: for more than one it becomes a field on the grid of the results."""
    several = sum(image.count or 1 for image in images) > 1
    return as_field(transform, grid) if several and not isinstance(transform, Field) else transform


def moved_volumes(image: Series, grid: Grid, transform: Transform, mode: str) -> Iterator[NDArray[Any]]:
    """The volumes of an image on a grid, one by one, see `apply`; warns of values that are not finite.

    Args:
        image: an image or a series.
        grid: grid of the result.
        transform: points of the grid to points of the image, RAS mm.
        mode: `linear` or `nearest`.
    """
    outside, not_finite = None, 0
    for values in image.volumes():
        if mode == "linear" and values.dtype.kind == "f":
            finite = np.isfinite(values)
            not_finite += finite.size - np.count_nonzero(finite)
            values = np.where(finite, values, values.dtype.type(0))
        if outside is None:
            # The same value for all volumes of a series.
            outside = 0 if mode == "nearest" else value_outside(values)
        yield resample(values, image.grid.affine, grid, transform, mode, outside)
    if not_finite:
        logger.warning("%s: %d voxels are NaN or infinite; taken as 0", image.path, not_finite)


def _read_points(path: str, space: str | None) -> Points:
    found = read_points(path, space)
    _warn(path, found.warnings)
    return found


def _warn(path: str, lines: Sequence[str]) -> None:
    for line in lines:
        logger.warning("%s: %s", path, line)


def _partners(start: Points, target: Points, paths: tuple[str, str]) -> NDArray[np.float64]:
    """Positions of the same landmarks in the other space, `(N, 3)`, mm; NaN for a landmark that is missing there."""
    matches = match_landmarks(start, target, paths)
    for path, lines in zip(paths, match_warnings(start, target, matches), strict=True):
        _warn(path, lines)
    print(f"{len(matches.rows[0])} landmarks matched by {matches.by}")
    positions = np.full(start.positions.shape, np.nan)
    positions[matches.rows[0]] = target.positions[matches.rows[1]]
    return positions
