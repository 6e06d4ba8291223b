"""Results of a registration as files: a folder for each pair."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.geometry import Field, resample, value_outside
from scripts.io import (
    finite_or_none,
    save_affine,
    save_composite,
    save_image,
    save_itk_field,
    whole_folder,
    write_complete,
)
from scripts.registration.jobs import ROLES
from scripts.registration.steps import grid_spacing
from scripts.report import registration_report, reuse_commands
from scripts.runtime import stage
from scripts.spatial import warp


class SaveRegistration:
    """Write what a registration leaves, all of it or nothing, into the pair's `folder`.

    `moved.nii.gz`, the moving image in the fixed space, in the moving image's data type; `warp.nii.gz` and
    `inverse_warp.nii.gz`, ITK vector fields on the fixed and the moving image's own grid, the affine in them;
    `affine.mat` (ITK); `metrics.json` and `report.html`.

    Args:
        composite: write `transform.h5`, too: affine and field apart, in an ITK composite.
    """

    def __init__(self, composite: bool) -> None:
        self.composite = composite

    def __call__(self, pair: Mapping[str, Any]) -> Mapping[str, Any]:
        """Save one pair."""
        folder = Path(pair["folder"])
        stages = dict(pair["stages"])
        with whole_folder(folder, last="metrics.json") as target:
            with stage(stages, "save"):
                _write_images(target, pair)
                if self.composite:
                    save_composite(target / "transform.h5", pair["affine"], _deformable_part(pair))
            metrics = pair["metrics"] | {"stages": stages}
            with stage(stages, "report"):
                _write_report(target / "report.html", pair, metrics)
            _write_metrics(target, metrics)
        print(f"{pair['name']}: {metrics['verdict']}, {folder / 'report.html'}")
        return {**pair, "metrics": metrics}


def _write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    write_complete(
        folder / "metrics.json", lambda file: json.dump(finite_or_none(metrics), file, indent=2, allow_nan=False)
    )


def _write_images(target: Path, pair: Mapping[str, Any]) -> None:
    fixed, moving = (pair[f"{role}_scan"] for role in ROLES)
    outside = value_outside(moving.array)
    moved = resample(moving.array, moving.affine, fixed.grid, pair["warp"], outside=outside)
    save_image(target / "moved.nii.gz", moved, fixed.affine, moving.dtype, moving.slope, moving.inter)
    for name in ("warp", "inverse_warp"):
        save_itk_field(target / f"{name}.nii.gz", pair[name].displacement, pair[name].affine)
    save_affine(target / "affine.mat", pair["affine"])


def _deformable_part(pair: Mapping[str, Any]) -> Field:
    field: Field = pair["transform"].transforms[1]
    return field


def _write_report(path: Path, pair: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    fixed, before = pair["image"]
    moved = warp(before[None, None], pair["pred"][None])[0, 0]
    commands = reuse_commands(pair["fixed_scan"].path, pair["moving_scan"].path, pair["folder"])
    pictured = (fixed.numpy(), before.numpy(), moved.numpy(), pair["pred"].numpy())
    registration_report(path, *pictured, metrics, commands, grid_spacing(pair))
