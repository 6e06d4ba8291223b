"""What a registration is worth, in numbers: the content of metrics.json."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.geometry import Affine, resample
from scripts.io import header_facts
from scripts.metrics import dice_per_label, hd95_per_label, lncc, non_diffeomorphic_volume, percent_folding, sdlogj
from scripts.registration.jobs import ROLES
from scripts.registration.steps import grid_spacing
from scripts.report import judge
from scripts.runtime import stage
from scripts.spatial import warp

_PACKAGES = ("torch", "monai", "nibabel", "simpleitk")


class Measure:
    """Adds `metrics` to a pair, the dict that metrics.json holds; `before` is after the affine alignment.

    Args:
        settings: what the result depends on beside the images, noted as it is.
        labels: to score; where None or empty, those of the two label maps.
        bundle_root: whose version is noted as well.
    """

    def __init__(
        self, settings: Mapping[str, Any], labels: Sequence[int] | None = None, bundle_root: str = "."
    ) -> None:
        self.settings = settings
        self.labels = labels
        metadata = json.loads((Path(bundle_root) / "configs" / "metadata.json").read_text(encoding="utf-8"))
        self.bundle_version = metadata["version"]

    def __call__(self, pair: Mapping[str, Any]) -> dict[str, Any]:
        """Measure one pair, after `ToWorld` and, for its consistency, `Invert`."""
        stages = dict(pair["stages"])
        with stage(stages, "measure"):
            figures = _similarity(pair) | _regularity(pair) | _inverse_consistency(pair)
            figures |= _label_overlap(pair, self.labels) | _landmark_error(pair)
        inputs = {role: header_facts(pair[f"{role}_scan"]) | {"warnings": pair["warnings"][role]} for role in ROLES}
        metrics = {**inputs, "settings": dict(self.settings), **figures, "affine": _describe(pair["affine"])}
        if "refinement" in pair:
            metrics["refinement"] = pair["refinement"]
        verdict, reasons = judge(metrics)
        versions = {name: version(name) for name in _PACKAGES}
        return {
            **pair,
            "stages": stages,
            "metrics": {
                "verdict": verdict,
                "reasons": reasons,
                **metrics,
                "stages": stages,
                "device": pair["device"],
                "threads": torch.get_num_threads(),
                "versions": {"msfbnet": self.bundle_version, "python": platform.python_version(), **versions},
            },
        }


def _similarity(pair: Mapping[str, Any]) -> dict[str, float]:
    image, field = pair["image"], pair["pred"]
    fixed, moving = torch.from_numpy(pair["foregrounds"])
    moved = warp(moving[None, None].byte(), field[None], mode="nearest")[0, 0] > 0
    return {
        "lncc_before": lncc(image, torch.zeros_like(field)).item(),
        "lncc": lncc(image, field).item(),
        "foreground_dice_before": _dice(fixed, moving),
        "foreground_dice": _dice(fixed, moved),
    }


def _dice(first: Tensor, second: Tensor) -> float:
    return (2.0 * (first & second).sum() / (first.sum() + second.sum())).item()


def _regularity(pair: Mapping[str, Any]) -> dict[str, float]:
    field, inside = pair["pred"], torch.from_numpy(pair["foregrounds"][0])
    lengths = grid_spacing(pair) * torch.linalg.vector_norm(field, dim=0)[inside]
    return {
        "folding_percent": percent_folding(field, inside).item(),
        "ndv_percent": non_diffeomorphic_volume(field, inside).item(),
        "sdlogj": sdlogj(field).item(),
        "mean_displacement_mm": lengths.mean().item(),
        "max_displacement_mm": lengths.max().item(),
    }


def _inverse_consistency(pair: Mapping[str, Any], points: int = 100_000) -> dict[str, float]:
    """How far a point of the fixed brain is from itself after both fields, as they are saved."""
    if "inverse_warp" not in pair:
        return {}
    voxels = np.argwhere(pair["foregrounds"][0])
    there = Affine(pair["grid"].affine)(voxels[:: max(1, len(voxels) // points)].astype(np.float64))
    error = np.linalg.norm(pair["inverse_warp"](pair["warp"](there)) - there, axis=1)
    return {
        "inverse_consistency_mean_mm": float(error.mean()),
        "inverse_consistency_max_mm": float(error.max()),
    }


def _label_overlap(pair: Mapping[str, Any], labels: Sequence[int] | None) -> dict[str, float]:
    if not all(f"{role}_label" in pair for role in ROLES):
        return {}
    fixed_scan, moving_scan = (pair[f"{role}_scan"] for role in ROLES)
    grids = (moving_scan.affine, fixed_scan.grid)
    # Consecutive codes from 0, the background's, as label maps hold any whole numbers.
    maps = [pair[f"{role}_label"].ravel() for role in ROLES]
    values, codes = np.unique(np.concatenate([[0], *maps]), return_inverse=True)
    codes = (codes[1:] - codes[0]).astype(np.int64) % len(values)
    fixed = torch.from_numpy(codes[: maps[0].size].reshape(fixed_scan.array.shape))
    moving = codes[maps[0].size :].reshape(moving_scan.array.shape)
    zero = int(np.searchsorted(values, 0))
    wanted = [
        (code - zero) % len(values)
        for code, value in enumerate(values.tolist())
        if value != 0 and (not labels or value in labels)
    ]
    spacing = fixed_scan.grid.spacing.tolist()
    figures: dict[str, float] = {}
    for suffix, transform in (("_before", Affine(pair["affine"])), ("", pair["warp"])):
        moved = torch.from_numpy(resample(moving, *grids, transform, "nearest"))
        figures[f"dice{suffix}"] = _mean(dice_per_label(fixed, moved, wanted, torch.from_numpy(moving)))
        figures[f"hd95{suffix}"] = _mean(hd95_per_label(fixed, moved, wanted, spacing, torch.from_numpy(moving)))
    return figures


def _landmark_error(pair: Mapping[str, Any]) -> dict[str, float]:
    if not all(f"{role}_points" in pair for role in ROLES):
        return {}
    fixed, moving = (pair[f"{role}_points"] for role in ROLES)
    return {
        f"tre{suffix}": float(np.linalg.norm(transform(fixed) - moving, axis=1).mean())
        for suffix, transform in (("_before", Affine(pair["affine"])), ("", pair["transform"]))
    }


def _mean(values: Tensor) -> float:
    return values.nanmean().item()


def _describe(matrix: NDArray[np.float64]) -> dict[str, Any]:
    """The matrix, and its rotation and scales by polar and singular value decomposition."""
    left, scales, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    angle = np.arccos(np.clip((np.trace(rotation) * np.sign(np.linalg.det(rotation)) - 1) / 2, -1, 1))
    return {
        "matrix": matrix.tolist(),
        "rotation_degrees": float(np.degrees(angle)),
        "scale": scales.tolist(),
    }
