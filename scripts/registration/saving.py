# SPDX-License-Identifier: Apache-2.0
"""Results of a registration as files: a folder for each pair."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.datasets import scale_intensity
from scripts.geometry import Affine, resample, value_outside
from scripts.io import (
    ASSUMED_RAS,
    IN_MEMORY,
    save_affine,
    save_composite,
    save_image,
    save_itk_field,
    whole_folder,
    write_json,
)
from scripts.registration.pair import ROLES, MeasuredRegistration, Registration, advanced
from scripts.report import COPIES, WARPS, Input, registration_report, reuse_commands
from scripts.runtime import timed
from scripts.spatial import warp

# All that may lie in the folder of a pair, `metrics.json` last: a folder that has it is complete.
LAST = "metrics.json"
OUTPUTS = (
    "moved.nii.gz",
    "quality.nii.gz",
    *WARPS,
    "affine.mat",
    "transform.h5",
    "fixed_mask.nii.gz",
    "moving_mask.nii.gz",
    "report.html",
    *COPIES.values(),  # the report's commands write them
    LAST,
)
NAMES = {name: name for name in OUTPUTS}


def save_pair(registration: MeasuredRegistration, composite: bool) -> MeasuredRegistration:
    """Save a registration into the folder of its job, and print its verdict: see `save_registration`."""
    folder = Path(registration.job.folder)
    saved = save_registration(registration, folder, composite)
    print(f"{registration.name}: {saved.metrics['verdict']}, {folder / 'report.html'}")
    return saved


def save_registration(
    registration: MeasuredRegistration, folder: Path, composite: bool, names: Mapping[str, str] = NAMES
) -> MeasuredRegistration:
    """Write what a registration leaves, all of it or nothing.

    `moved.nii.gz`, the moving image in the fixed space, in the moving image's data type; `quality.nii.gz`, where it can
    be trusted, on the same grid; `warp.nii.gz` and
    `inverse_warp.nii.gz`, ITK vector fields on the fixed and the moving image's own grid, the affine map in them;
    `affine.mat` (ITK); `fixed_mask.nii.gz` and `moving_mask.nii.gz`, brain masks that were found; `metrics.json` and
    `report.html`. What an earlier registration has left under these names, and this one does not write, is removed;
    other files in the folder stay.

    Args:
        registration: the results.
        folder: folder for the files; made where it is missing.
        composite: write `transform.h5`, too: affine map and deformation apart, in an ITK composite.
        names: the names that these files are to have in the folder, with folders in them; those of `moved.nii.gz`, of
            both warps, of `metrics.json` and `report.html`, and of others that are wanted.

    Returns:
        The registration, with the time that this took.
    """
    timings = dict(registration.timings)
    with whole_folder(folder, last=names[LAST], ours=names.values()) as target:
        files = {name: target / place for name, place in names.items()}
        for file in files.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        with timed(timings, "save"):
            _write_transforms(files, registration, composite)
        metrics = {**registration.metrics, "timings": timings}
        with timed(timings, "report"):
            _write_report(files["report.html"], registration, folder, metrics, names)
        metrics["files"] = sorted(
            os.path.relpath(file, files[LAST].parent) for file in target.rglob("*") if file.is_file()
        )
        write_json(files[LAST], metrics)
    return advanced(MeasuredRegistration, registration, metrics=metrics, timings=timings)


def moved_image(registration: Registration) -> NDArray[Any]:
    """The moving image on the fixed image's own grid, `(X, Y, Z)`: linear interpolation, once."""
    fixed, moving = (image.scan for image in registration.images)
    outside = value_outside(moving.array)
    return resample(moving.array, moving.affine, fixed.grid, registration.warp, outside=outside)


def _write_transforms(files: Mapping[str, Path], registration: Registration, composite: bool) -> None:
    fixed, moving = (image.scan for image in registration.images)
    save_image(files["moved.nii.gz"], moved_image(registration), fixed.affine, moving.dtype, moving.slope, moving.inter)
    if "quality.nii.gz" in files and registration.quality is not None:
        save_image(files["quality.nii.gz"], registration.quality, fixed.affine, np.uint8, slope=1 / 255)
    for name, field in zip(WARPS, (registration.warp, registration.inverse_warp), strict=True):
        if field is not None:
            save_itk_field(files[name], field.displacement, field.affine)
    if "affine.mat" in files:
        save_affine(files["affine.mat"], registration.affine)
    if composite:
        save_composite(files["transform.h5"], registration.affine, registration.deformation)
    for role, image in zip(ROLES, registration.images, strict=True):
        mask = f"{role}_mask.nii.gz"
        if mask in files and image.found_mask is not None:
            save_image(files[mask], image.found_mask, image.scan.affine)


def _write_report(
    path: Path, registration: Registration, folder: Path, metrics: Mapping[str, Any], names: Mapping[str, str]
) -> None:
    fixed, before = registration.image
    field = registration.field
    moved = warp(torch.from_numpy(np.ascontiguousarray(before))[None, None], field[None])[0, 0].numpy()
    scans = [image.scan for image in registration.images]
    fixed_input, moving_input = (
        Input(scan.path, scan.affine if scan.space == ASSUMED_RAS else None, scan.volume) for scan in scans
    )
    in_files = all(scan.path != IN_MEMORY for scan in scans)
    warp_name, inverse_name = (names[name] for name in WARPS)
    warps = warp_name, inverse_name
    commands = reuse_commands(fixed_input, moving_input, folder, warps) if in_files else []
    spacing = float(registration.grid.spacing[0])
    heads = dict(_heads(registration))
    quality = registration.quality
    if quality is not None:
        quality = resample(quality, scans[0].affine, registration.grid)
    registration_report(path, fixed, before, moved, field.numpy(), metrics, commands, spacing, warps, heads, quality)


def _heads(registration: Registration) -> Iterator[tuple[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]]:
    """The scans whose brain was found, with it, on the network's grid."""
    for role, image, matrix in zip(ROLES, registration.images, (np.eye(4), registration.affine), strict=True):
        if image.found_mask is not None:
            scan, transform = image.scan, Affine(matrix)
            head = resample(scale_intensity(scan.array), scan.affine, registration.grid, transform)
            yield role, (head, resample(image.found_mask, scan.affine, registration.grid, transform, "nearest"))
