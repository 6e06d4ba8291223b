# SPDX-License-Identifier: Apache-2.0
"""A small registration to report on: balls, a smooth field, and the content of its metrics.json."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from scripts.spatial import warp

SHAPE = (24, 32, 20)
GRID = np.indices(SHAPE)


def ball(center: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    return sum(((x - c) / r) ** 2 for x, c, r in zip(GRID, center, radii, strict=True)) < 1


def brain(shift: int = 0) -> np.ndarray:
    whole = 0.5 * ball((12 + shift, 16, 10), (9, 12, 8)) + 0.4 * ball((12 + shift, 17, 10), (4, 6, 4))
    return whole.astype(np.float32)


def smooth_field() -> np.ndarray:
    return np.stack([np.sin(GRID[1] / 6), np.cos(GRID[0] / 5), np.sin(GRID[2] / 4)]).astype(np.float32)


def header(path: str) -> dict[str, Any]:
    return {
        "path": path,
        "sha256": "0f" * 32,
        "size": [24, 32, 20],
        "spacing_mm": [1.0, 0.9375, 1.5],
        "orientation": "LAS",
        "dtype": "int16",
        "space": "sform (scanner)",
        "warnings": [],
    }


GOOD = {
    "fixed": header("/data/sub-01/T1.nii.gz"),
    "moving": header("/data/sub-02/T1.nii.gz"),
    "lncc_before": 0.286,
    "lncc": 0.8297,
    "foreground_dice_before": 0.96,
    "foreground_dice": 0.994,
    "foreground_folding_percent": 0.0,
    "foreground_ndv_percent": 0.0001,
    "sdlogj": 0.081,
    "mean_displacement_mm": 4.74,
    "max_displacement_mm": 21.3,
    "inverse_consistency_mean_mm": 0.02,
    "inverse_consistency_max_mm": 0.4,
    "affine": {"matrix": np.eye(4).tolist(), "rotation_degrees": 7.3, "scale": [1.02, 0.97, 1.05]},
    "settings": {"init": "affine", "seed": 0, "weights": {"path": "models/model.pt", "sha256": "ab" * 32}},
    "timings": {
        "load": {"seconds": 0.5, "peak_memory_mb": 600.0},
        "network": {"seconds": 12.25, "peak_memory_mb": 3104.0},
    },
    "threads": 2,
    "versions": {"torch": "2.13.0", "python": "3.11.2"},
    "verdict": "pass",
    "reasons": ["no rule applies"],
}


@pytest.fixture
def metrics() -> dict[str, Any]:
    """Metrics of a good registration; each test gets its own copy."""
    return copy.deepcopy(GOOD)


@pytest.fixture
def volumes() -> dict[str, np.ndarray]:
    """The three images and the field, as arguments of `registration_report`."""
    field = smooth_field()
    moved = warp(torch.from_numpy(brain(1))[None, None], torch.from_numpy(field)[None])[0, 0].numpy()
    return {"fixed": brain(), "before": brain(1), "moved": moved, "field": field}
