# SPDX-License-Identifier: Apache-2.0
"""The steps of a registration: from the files of a job to the transform between its images.

Images and labels keep their files' own axes; they meet in the world, RAS mm, and on the network's grid.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scripts.datasets import find_cuts, foreground, looks_skull_stripped, scale_intensity
from scripts.geometry import Affine, Chain, Field, Grid, align, as_field, has_one_scale, network_grid, resample
from scripts.io import read_label, read_scan, read_scan_and_mask, read_transform
from scripts.registration.fingerprint import source_digests
from scripts.registration.landmarks import with_landmarks
from scripts.registration.masks import INSTALL, Strip, brain_finder, check_mask, find_brain
from scripts.registration.pair import (
    FROM_FILE,
    AlignedPair,
    ImageSources,
    Job,
    LoadedImage,
    LoadedPair,
    PredictedPair,
    PreparedPair,
    Registration,
    advanced,
)
from scripts.registration.unknown import read_excluded, unknown_on, without_region
from scripts.runtime import InputError, timed

# The affine map to start from: one to find, or a matrix `(4, 4)`, RAS mm.
Init = Literal["affine", "rigid"] | NDArray[np.floating]


def read_pair(job: Job, volume: int | None = None, assume_ras: bool = False, strip: Strip = "auto") -> LoadedPair:
    """Read and check the images of a job.

    Args:
        job: the images.
        volume: index of the volume to take of an image with several, from 0.
        assume_ras: take images whose header says nothing of their orientation as RAS.
        strip: where the brain is searched if there is no mask: in whole heads, in all scans, or in none.

    Raises:
        InputError: for whatever is wrong with the files.
    """
    timings: dict[str, dict[str, float]] = {}
    with timed(timings, "load"):
        digests = source_digests(job)  # before reading: a file that is replaced meanwhile has another one afterwards
        fixed, moving = (
            _read_image(files, role, volume, assume_ras, strip)
            for role, files in (("fixed", job.fixed), ("moving", job.moving))
        )
        return with_landmarks(LoadedPair(job=job, fixed=fixed, moving=moving, timings=timings, digests=digests))


def print_warnings(pair: LoadedPair) -> LoadedPair:
    """Print what is odd about the files of a pair to stderr, one line each."""
    for image in pair.images:
        for warning in image.warnings:
            print(f"warning: {image.scan.path}: {warning}", file=sys.stderr)
    return pair


def read_init(init: str) -> Init:
    """What the option `--init` says.

    Args:
        init: `affine` or `rigid`, to find such a map; `none`, where the images lie in one world; or the path of an ITK
            transform file.

    Raises:
        InputError: for anything else, or a file that holds more than an affine map.
    """
    if init in ("affine", "rigid"):
        return "rigid" if init == "rigid" else "affine"
    if init == "none":
        return np.eye(4)
    if not os.path.lexists(Path(init).expanduser()):
        raise InputError(f"{init}: --init is affine, rigid, none or an ITK transform file, and there is no such file")
    transform = read_transform(init)
    if not isinstance(transform, Affine):
        raise InputError(f"{init}: holds more than an affine map; give an ITK affine (.mat, .tfm) to --init")
    return transform.matrix


def align_pair(pair: LoadedPair, init: Init, seed: int) -> AlignedPair:
    """Find the affine map from the fixed to the moving image; add a warning if none was plausible.

    Args:
        pair: both images.
        init: of `read_init`.
        seed: seed of the points at which the similarity is measured.

    Raises:
        InputError: if an image shows nothing but background.
    """
    timings = dict(pair.timings)
    warnings: tuple[str, ...] = ()
    with timed(timings, "affine"):
        fixed, moving = (scale_intensity(image.content, image.mask) for image in pair.images)
        for image, intensities in zip(pair.images, (fixed, moving), strict=True):
            if not intensities.any():
                raise InputError(
                    f"{image.scan.path}: nothing stands out from the background at the faces of the volume; "
                    "give another image or a mask"
                )
        if isinstance(init, str):
            # What is cut off would decide on the stretch towards it.
            kind = "similarity" if init == "affine" and any(image.cuts for image in pair.images) else init
            matrix = align(
                fixed,
                pair.fixed.scan.affine,
                moving,
                pair.moving.scan.affine,
                kind,
                pair.fixed.mask,
                pair.moving.mask,
                seed,
                *(partial(unknown_on, image) if image.is_partly_unknown else None for image in pair.images),
            )
            if kind == "affine" and has_one_scale(matrix):
                warnings = (
                    "the affine alignment stretched one scan more than brains differ; a map with one scale for all "
                    "axes was used instead: are the voxel sizes right?",
                )
        else:
            matrix = np.asarray(init, dtype=np.float64)
    return advanced(AlignedPair, pair, affine=matrix, intensities=(fixed, moving), warnings=warnings, timings=timings)


def to_network_grid(pair: AlignedPair, multiple: int, spacing: float, least_size: Sequence[int]) -> PreparedPair:
    """Resample both images to the network's grid: along the RAS axes, centered on the fixed foreground.

    Args:
        pair: both images and the affine map.
        multiple: number that the grid's sizes are multiples of.
        spacing: voxel size, mm: that of the scans that the network was trained on.
        least_size: least number of voxels along each axis.
    """
    timings = dict(pair.timings)
    with timed(timings, "prepare"):
        grid = network_grid(pair.fixed.foreground, pair.fixed.scan.affine, multiple, spacing, least_size)
        images, foregrounds, unknown = [], [], []
        for image, intensities, matrix in zip(pair.images, pair.intensities, (np.eye(4), pair.affine), strict=True):
            affine, transform = image.scan.affine, Affine(matrix)
            images.append(resample(intensities, affine, grid, transform))
            foregrounds.append(resample(image.foreground, affine, grid, transform, "nearest"))
            unknown.append(unknown_on(image, grid, matrix))
    # Arrays, not tensors: worker processes would hand tensors over in shared memory, which is scarce.
    return advanced(
        PreparedPair,
        pair,
        grid=grid,
        image=np.stack(images),
        foregrounds=np.stack(foregrounds),
        unknown=np.stack(unknown) if np.any(unknown) else None,
        timings=timings,
    )


def fuse(pair: PredictedPair) -> Registration:
    """Fuse the field with the affine map."""
    timings = dict(pair.timings)
    with timed(timings, "fuse"):
        # The grid lies along the world's axes, so voxels become mm without a rotation.
        displacement = np.moveaxis(pair.field.numpy() * float(pair.grid.spacing[0]), 0, -1)
        deformation = Field(np.ascontiguousarray(displacement), pair.grid.affine)
        warp = as_field(Chain([Affine(pair.affine), deformation]), pair.fixed.scan.grid)
    return advanced(Registration, pair, deformation=deformation, warp=warp, timings=timings)


def invert(registration: Registration) -> Registration:
    """Add the inverse warp, on the moving image's own grid."""
    timings = dict(registration.timings)
    with timed(timings, "invert"):
        inverse = as_field(registration.transform.inverse(), registration.moving.scan.grid)
    return advanced(Registration, registration, inverse_warp=inverse, timings=timings)


def _read_image(files: ImageSources, role: str, volume: int | None, assume_ras: bool, strip: Strip) -> LoadedImage:
    label = shows_head = mask_from = None
    mask: NDArray[np.bool_] | None = None
    if files.mask is not None:
        scan, read = read_scan_and_mask(files.image, files.mask, volume, assume_ras)
        mask, mask_from = read.array, FROM_FILE
        warnings = [*scan.warnings, *read.warnings]
        check_mask(scan, read)
    else:
        scan = read_scan(files.image, volume, assume_ras)
        warnings = [*scan.warnings]
    excluded, found = read_excluded(files.exclude, scan, mask, assume_ras)
    warnings += found
    content = scan.array if excluded is None else without_region(scan.array, excluded, mask)
    if mask is None:
        shows_head = not looks_skull_stripped(content, scan.affine)
        if strip == "yes" or (strip == "auto" and shows_head):
            mask, found = _brain(content, scan.grid, role)
            warnings += found
            if mask is not None:
                mask_from = brain_finder()
                # Again, as what the mask leaves out is not continued.
                content = content if excluded is None else without_region(scan.array, excluded, mask)
    if mask is not None and excluded is not None:
        mask = mask | excluded
    inside = foreground(content, mask)
    cuts = find_cuts(scan.array, scan.affine, inside, mask is not None or not shows_head)
    for cut in cuts:
        warnings.append(
            f"cut off at its {cut.side}, where {cut.area:.0f} cm² of it meet the border of the volume; what lies "
            "beyond can only be guessed, and near the cut the result may be some mm off"
        )
    if files.label is not None:
        read = read_label(files.label, scan, assume_ras)
        label = read.array
        warnings += read.warnings
    return LoadedImage(
        scan=scan,
        foreground=inside,
        mask=mask,
        mask_from=mask_from,
        shows_head=shows_head,
        excluded=excluded,
        filled=None if excluded is None else content,
        cuts=cuts,
        label=label,
        warnings=tuple(warnings),
    )


def _brain(image: NDArray[np.float32], grid: Grid, role: str) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """The brain in an image, or why there is none."""
    finder = brain_finder()
    if finder is None:
        return None, (
            "not skull-stripped, as it seems, while the network was trained on skull-stripped brains; its brain is "
            f"found after `{INSTALL}`, or give --{role}_mask",
        )
    mask = find_brain(image, grid)
    return mask, () if mask is not None else (f"{finder} found no brain in it; give --{role}_mask",)
