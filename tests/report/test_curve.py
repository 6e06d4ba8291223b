# SPDX-License-Identifier: Apache-2.0
"""The loss curve."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.report import loss_curve


def draw(path: Path, history: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Pixels of the curve, drawn without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_curve(path, history)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_each_metric_of_the_history_has_a_panel(tmp_path: Path) -> None:
    losses = [{"epoch": e, "loss": 1 / (e + 1)} for e in range(6)]
    validated = [{**row, "dice": 0.5 + 0.01 * row["epoch"]} if row["epoch"] % 2 else row for row in losses]
    everything = [{**row, "ndv_percent": 0.1} if "dice" in row else row for row in validated]
    heights = [draw(tmp_path / "curve.png", history).shape[0] for history in (losses, validated, everything)]
    assert heights[0] < heights[1] < heights[2]


def test_other_losses_give_another_picture_of_the_same_size(tmp_path: Path) -> None:
    falling = draw(tmp_path / "a.png", [{"epoch": e, "loss": -e} for e in range(60)])
    rising = draw(tmp_path / "b.png", [{"epoch": e, "loss": e} for e in range(60)])
    assert falling.shape == rising.shape and falling.shape[1] == 900
    assert (falling != rising).any()


def test_a_single_epoch_is_drawn(tmp_path: Path) -> None:
    assert draw(tmp_path / "curve.png", [{"epoch": 1, "loss": 0.5, "dice": 0.4}]).shape[1] == 900


def test_an_empty_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no epoch"):
        loss_curve(tmp_path / "curve.png", [])
