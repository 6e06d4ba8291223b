# SPDX-License-Identifier: Apache-2.0
"""The quality of a registration in numbers: the content of metrics.json."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.geometry import Affine, Transform, resample
from scripts.io import IN_MEMORY, header_facts
from scripts.metrics import (
    border_voxels,
    dice_per_label,
    hd95_per_label,
    lncc,
    mutual_information,
    non_diffeomorphic_volume,
    percent_folding,
    sdlogj,
    without_rim,
)
from scripts.registration.fingerprint import settings_digests
from scripts.registration.pair import (
    ROLES,
    LoadedImage,
    MeasuredRegistration,
    PredictedPair,
    Registration,
    advanced,
)
from scripts.report import judge
from scripts.runtime import bundle_version, timed
from scripts.spatial import warp

_PACKAGES = ("torch", "monai", "nibabel", "simpleitk")


def measure(
    registration: Registration, settings: Mapping[str, Any], labels: Sequence[int] | None = None
) -> MeasuredRegistration:
    """Measure a registration; `_before` is after the affine map alone.

    Args:
        registration: what to measure; its inverse consistency where it has the inverse.
        settings: what the result depends on beside the images, ready for JSON, noted as it is.
        labels: labels to score; where None or empty, those of the two label maps.
    """
    timings = dict(registration.timings)
    with timed(timings, "measure"):
        numbers = dict(registration.similarity or similarity(registration))
        numbers |= regularity(registration) | inverse_consistency(registration)
        numbers |= label_overlap(registration, labels) | landmark_error(registration)
        numbers |= mean_quality(registration)
    images = {
        role: _image_facts(image, registration.digests.get(f"{role} image"))
        for role, image in zip(ROLES, registration.images, strict=True)
    }
    metrics: dict[str, Any] = {
        **images,
        "settings": dict(settings),
        **numbers,
        "affine": describe_affine(registration.affine),
        "warnings": list(registration.warnings),
        "in_one_contrast": registration.in_one_contrast is not None,
    }
    where_known = {
        "local_correlation_before": registration.local_correlation,
        "landmarks": registration.landmarks,
        "refinement": registration.refinement,
        "rejected": registration.rejected,
        "quality_per_label": label_quality(registration, labels),
    }
    metrics |= {name: value for name, value in where_known.items() if value is not None}
    verdict, reasons = judge(metrics)
    metrics = {
        "verdict": verdict,
        "reasons": reasons,
        **metrics,
        "timings": timings,
        "device": registration.device,
        "threads": torch.get_num_threads(),
        "versions": {"msfbnet": bundle_version(), "python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
        "fingerprint": {**registration.digests, **settings_digests(settings)},
    }
    return advanced(MeasuredRegistration, registration, metrics=metrics, timings=timings)


def inverse_consistency(registration: Registration, points: int = 100_000) -> dict[str, float]:
    """Distance of points of the fixed brain from themselves after both warps, as they are saved."""
    if registration.inverse_warp is None:
        return {}
    voxels = np.argwhere(registration.foregrounds[0])
    start = Affine(registration.grid.affine)(voxels[:: max(1, len(voxels) // points)].astype(np.float64))
    error = np.linalg.norm(registration.inverse_warp(registration.warp(start)) - start, axis=1)
    return {
        "inverse_consistency_mean_mm": float(error.mean()),
        "inverse_consistency_max_mm": float(error.max()),
    }


def label_overlap(registration: Registration, labels: Sequence[int] | None) -> dict[str, float]:
    """Mean Dice and HD95 over the labels, where both images have them."""
    fixed_map, moving_map = (image.label for image in registration.images)
    if fixed_map is None or moving_map is None:
        return {}
    fixed_grid, moving_affine = registration.fixed.scan.grid, registration.moving.scan.affine
    # Consecutive codes from 0, the background's, as label maps hold any whole numbers.
    values, codes = np.unique(np.concatenate([[0], fixed_map.ravel(), moving_map.ravel()]), return_inverse=True)
    codes = (codes[1:] - codes[0]).astype(np.int64) % len(values)
    fixed = torch.from_numpy(codes[: fixed_map.size].reshape(fixed_map.shape))
    moving = codes[fixed_map.size :].reshape(moving_map.shape)
    zero = int(np.searchsorted(values, 0))
    wanted = [
        (code - zero) % len(values)
        for code, value in enumerate(values.tolist())
        if value != 0 and (not labels or value in labels)
    ]
    spacing = fixed_grid.spacing.tolist()
    metrics: dict[str, float] = {}
    transforms: tuple[tuple[str, Transform], ...] = (("_before", Affine(registration.affine)), ("", registration.warp))
    for suffix, transform in transforms:
        moved = torch.from_numpy(resample(moving, moving_affine, fixed_grid, transform, "nearest"))
        metrics[f"dice{suffix}"] = _mean(dice_per_label(fixed, moved, wanted, torch.from_numpy(moving)))
        metrics[f"hd95{suffix}"] = _mean(hd95_per_label(fixed, moved, wanted, spacing, torch.from_numpy(moving)))
    return metrics


def mean_quality(registration: Registration) -> dict[str, float]:
    """Mean of the quality in the fixed foreground."""
    if registration.quality is None:
        return {}
    return {"quality": float(registration.quality[registration.fixed.foreground].mean())}


def label_quality(registration: Registration, labels: Sequence[int] | None) -> dict[str, float] | None:
    """Mean of the quality at the border of each fixed label, by its value; None without quality or labels."""
    label_map, quality = registration.fixed.label, registration.quality
    if label_map is None or quality is None:
        return None
    border = border_voxels(label_map)
    values, codes = np.unique(label_map[border], return_inverse=True)
    means = np.bincount(codes, quality[border]) / np.bincount(codes)
    wanted = zip(values.tolist(), means.tolist(), strict=True)
    return {str(value): mean for value, mean in wanted if value != 0 and (not labels or value in labels)}


def landmark_error(registration: Registration) -> dict[str, float]:
    """Mean distance of the landmarks and length of their mean error, mm, where both images have them."""
    fixed, moving = (image.landmarks for image in registration.images)
    if fixed is None or moving is None:
        return {}
    figures: dict[str, float] = {}
    transforms: tuple[tuple[str, Transform], ...] = (
        ("_before", Affine(registration.affine)),
        ("", registration.transform),
    )
    for suffix, transform in transforms:
        errors = transform(fixed) - moving
        figures[f"tre{suffix}"] = float(np.linalg.norm(errors, axis=1).mean())
        figures[f"tre_bias{suffix}"] = float(np.linalg.norm(errors.mean(axis=0)))
    return figures


def describe_affine(matrix: NDArray[np.float64]) -> dict[str, Any]:
    """The matrix, and its rotation and scales by polar and singular value decomposition."""
    left, scales, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    angle = np.arccos(np.clip((np.trace(rotation) * np.sign(np.linalg.det(rotation)) - 1) / 2, -1, 1))
    return {
        "matrix": matrix.tolist(),
        "rotation_degrees": float(np.degrees(angle)),
        "scale": scales.tolist(),
    }


def _image_facts(image: LoadedImage, digest: str | None) -> dict[str, Any]:
    sha256 = None if image.scan.path == IN_MEMORY else digest
    facts = header_facts(image.scan) | {"sha256": sha256, "warnings": list(image.warnings)}
    facts |= {"shows_head": image.shows_head, "mask_from": image.mask_from, "cuts": [cut.side for cut in image.cuts]}
    if image.excluded is not None:
        facts["excluded_ml"] = np.count_nonzero(image.excluded) * image.scan.grid.voxel_volume / 1000
    return facts


def similarity(pair: PredictedPair) -> dict[str, float]:
    """Similarity of the images and overlap of their foregrounds, on the network's grid."""
    image, compared, field = torch.from_numpy(pair.image), torch.from_numpy(pair.compared), pair.field
    fixed, moving = torch.from_numpy(pair.foregrounds)
    inside = without_rim(fixed, float(pair.grid.spacing[0]))
    figures: dict[str, float] = {}
    for suffix, way in (("_before", torch.zeros_like(field)), ("", field)):
        known = known_voxels(pair, way)
        moved = warp(moving[None, None].byte(), way[None], mode="nearest")[0, 0] > 0
        figures |= {
            f"lncc{suffix}": lncc(compared, way, known).item(),
            f"mutual_information{suffix}": mutual_information(image, way, inside & known),
            f"foreground_dice{suffix}": dice(fixed & known, moved & known),
        }
    return figures


def known_voxels(pair: PredictedPair, field: Tensor) -> Tensor:
    """Voxels of the network's grid at which the content of both images is known, `(X, Y, Z)` bool."""
    if pair.unknown is None:
        return torch.ones(field.shape[1:], dtype=torch.bool)
    fixed, moving = torch.from_numpy(pair.unknown)
    return ~(fixed | (warp(moving[None, None].float(), field[None])[0, 0] > 0))


def dice(first: Tensor, second: Tensor) -> float:
    """Overlap of two masks; NaN where both are empty."""
    return (2.0 * (first & second).sum() / (first.sum() + second.sum())).item()


def regularity(pair: PredictedPair) -> dict[str, float]:
    """Folding, smoothness and size of the deformation in the fixed foreground, on the network's grid."""
    field, inside = pair.field, torch.from_numpy(pair.foregrounds[0])
    lengths = float(pair.grid.spacing[0]) * torch.linalg.vector_norm(field, dim=0)[inside]
    return {
        "foreground_folding_percent": percent_folding(field, inside).item(),
        "foreground_ndv_percent": non_diffeomorphic_volume(field, inside).item(),
        "sdlogj": sdlogj(field).item(),
        "mean_displacement_mm": lengths.mean().item(),
        "max_displacement_mm": lengths.max().item(),
    }


def _mean(values: Tensor) -> float:
    return values.nanmean().item()
