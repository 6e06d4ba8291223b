# SPDX-License-Identifier: Apache-2.0
"""The picture of training pairs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.report.samples import samples_picture


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")).astype(int)


def test_fixed_images_lie_left_of_moving_ones(tmp_path: Path) -> None:
    pair = np.zeros((2, 20, 20, 20), dtype=np.float32)
    pair[1] = 1
    samples_picture(tmp_path / "one.png", [pair])
    drawn = pixels(tmp_path / "one.png")
    white = np.argwhere(drawn > 200)
    black = np.argwhere(drawn == 0)
    assert len(white) > 1000 and black[:, 1].max() < white[:, 1].min() + 2


def test_each_pair_has_its_place_and_rows_are_added(tmp_path: Path) -> None:
    pairs = [np.full((2, 8, 8, 8), 0.2 * (number + 1), dtype=np.float32) for number in range(5)]
    samples_picture(tmp_path / "four.png", pairs[:4])
    samples_picture(tmp_path / "five.png", pairs)
    assert pixels(tmp_path / "five.png").shape[0] == 2 * pixels(tmp_path / "four.png").shape[0]
    with pytest.raises(ValueError, match="no pair"):
        samples_picture(tmp_path / "none.png", [])
