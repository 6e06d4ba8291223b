import warnings

import numpy as np
import pytest
from PIL import Image

from scripts.report import loss_curve


def draw(path, history):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_curve(path, history)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_one_panel_per_score_that_the_history_has(tmp_path):
    losses = [{"epoch": e, "loss": 1 / (e + 1)} for e in range(6)]
    validated = [{**row, "dice": 0.5 + 0.01 * row["epoch"]} if row["epoch"] % 2 else row for row in losses]
    everything = [{**row, "ndv_percent": 0.1} if "dice" in row else row for row in validated]
    heights = [draw(tmp_path / "curve.png", history).shape[0] for history in (losses, validated, everything)]
    assert heights[0] < heights[1] < heights[2]


def test_size_and_difference(tmp_path):
    falling = draw(tmp_path / "a.png", [{"epoch": e, "loss": -e} for e in range(60)])
    rising = draw(tmp_path / "b.png", [{"epoch": e, "loss": e} for e in range(60)])
    assert falling.shape == rising.shape and falling.shape[1] == 900
    assert (falling != rising).any()


def test_a_single_epoch_can_be_drawn(tmp_path):
    assert draw(tmp_path / "curve.png", [{"epoch": 1, "loss": 0.5, "dice": 0.4}]).shape[1] == 900


def test_refuses_an_empty_history(tmp_path):
    with pytest.raises(ValueError, match="no epoch"):
        loss_curve(tmp_path / "curve.png", [])
