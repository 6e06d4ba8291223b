# SPDX-License-Identifier: Apache-2.0
"""The picture of methods: every method is in it, ours in their own color."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from scripts.report import tradeoff_chart
from scripts.report.style import AMBER, BLUE

METHODS = {
    "syn": {"dice": 0.54, "cpu_seconds": 43.0, "sdlogj": 0.038, "ndv_percent": 0.0},
    "ours": {"dice": 0.62, "cpu_seconds": 4.4, "sdlogj": 0.069, "ndv_percent": 0.003},
    "unmeasured": {"dice": 0.7},
}


def pixels(path: Path, color: str) -> np.ndarray:
    """Rows and columns of the pixels of this color, `(N, 2)`."""
    image = matplotlib.image.imread(path)[..., :3]
    return np.argwhere(np.abs(image - to_rgb(color)).max(axis=-1) < 0.01)


@pytest.mark.parametrize("price", ["cpu_seconds", "sdlogj", "ndv_percent"])
def test_better_is_higher_and_cheaper_is_further_left(price: str, tmp_path: Path) -> None:
    tradeoff_chart(tmp_path / "a.png", METHODS, "dice", [price], "title", ["ours"], 0.4)
    (row, column), (other_row, other_column) = (
        pixels(tmp_path / "a.png", color).mean(axis=0) for color in (AMBER, BLUE)
    )
    assert row < other_row
    assert (column < other_column) == (METHODS["ours"][price] < METHODS["syn"][price])


def test_methods_of_equal_figures_have_names_apart(tmp_path: Path) -> None:
    """Names of the same letters in one place would have the pixels of one."""
    for count in (1, 2):
        methods = {f"method {number}": METHODS["syn"] for number in range(count)}
        tradeoff_chart(tmp_path / f"{count}.png", methods, "dice", ["sdlogj", "ndv_percent"], "title")
    one, two = (len(pixels(tmp_path / f"{count}.png", BLUE)) for count in (1, 2))
    assert two > 1.3 * one
