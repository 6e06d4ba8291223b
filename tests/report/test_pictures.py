# SPDX-License-Identifier: Apache-2.0
"""Single pictures: colors, edges, lines."""

import base64
import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from scripts.report.pictures import (
    SCALE,
    checkerboard_picture,
    data_uri,
    edges,
    edges_picture,
    gray_picture,
    grid_picture,
    jacobian_picture,
    quality_picture,
)
from scripts.report.style import AMBER, BACKGROUND, BLUE, MAGENTA

ROWS, COLUMNS = 40, 50


def disc(radius: float = 12) -> np.ndarray:
    row, column = np.indices((ROWS, COLUMNS))
    return ((row - 20) ** 2 + (column - 25) ** 2 < radius**2).astype(np.float32)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def is_color(picture: Image.Image, color: str, within: int = 40) -> np.ndarray:
    """Where a picture has a color, up to `within` of 255 in each channel."""
    wanted = 255 * np.array(to_rgb(color))
    return np.abs(pixels(picture) - wanted).max(axis=-1) < within


def test_gray_runs_from_background_to_white() -> None:
    picture = gray_picture(disc())
    assert picture.size == (COLUMNS * SCALE, ROWS * SCALE)
    assert pixels(picture)[0, 0].tolist() == [round(255 * part) for part in to_rgb(BACKGROUND)]
    assert pixels(picture)[20 * SCALE, 25 * SCALE].tolist() == [255, 255, 255]


def test_checkerboard_alternates() -> None:
    # Squares of 16 voxels: two rows of three whole ones in 40 x 50, sampled in their middles.
    board = pixels(checkerboard_picture(np.zeros((ROWS, COLUMNS)), np.ones((ROWS, COLUMNS))))[..., 0]
    middles = board[8 * SCALE :: 16 * SCALE, 8 * SCALE :: 16 * SCALE] > 128
    assert middles.tolist() == [[False, True, False], [True, False, True]]


def test_checkerboard_of_one_image_is_that_image() -> None:
    np.testing.assert_array_equal(pixels(checkerboard_picture(disc(), disc())), pixels(gray_picture(disc())))


def test_edges_lie_on_the_border_of_a_disc() -> None:
    row, column = np.indices((60, 60))
    radius = np.hypot(row - 30, column - 30)
    found = edges((radius < 20).astype(np.float32), blur=1.5, slope=0.02)
    assert 100 < found.sum() < 400
    assert np.abs(radius[found] - 20).max() < 2.5


def test_flat_and_slightly_noisy_images_have_no_edges() -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal((60, 60))
    assert not edges(np.full((60, 60), 0.7), blur=1.5, slope=0.02).any()
    assert not edges(0.5 + noise, blur=1.5, slope=0.02).any()


def test_edges_of_the_fixed_image_are_drawn_over_the_moved_one() -> None:
    picture = edges_picture(disc(12), disc(4))
    row, column = np.nonzero(is_color(picture, AMBER, within=3))
    assert np.hypot(row / SCALE - 20, column / SCALE - 25) == pytest.approx(12, abs=1.5)
    assert pixels(picture)[20 * SCALE, 25 * SCALE].min() > 150  # the moved disc, darkened
    assert pixels(picture)[20 * SCALE, 33 * SCALE].max() < 30  # between the two


def test_lines_are_drawn_at_their_position() -> None:
    across = np.stack([np.arange(COLUMNS), np.full(COLUMNS, 10.0)], axis=-1)
    drawn = is_color(grid_picture(np.zeros((ROWS, COLUMNS)), [across]), BLUE, within=80)
    assert set(np.nonzero(drawn)[0] // SCALE) == {10}
    assert drawn[10 * SCALE + 1, 5:-5].all()


def test_lines_with_nan_are_left_out() -> None:
    broken = np.array([[0.0, 5.0], [np.nan, 5.0], [20.0, 5.0]])
    picture = grid_picture(np.zeros((ROWS, COLUMNS)), [broken])
    np.testing.assert_array_equal(pixels(picture), pixels(grid_picture(np.zeros((ROWS, COLUMNS)), [])))


def test_growth_is_red_shrinking_blue_and_no_change_dark() -> None:
    brain = np.ones((ROWS, COLUMNS), bool)
    growing, shrinking, still = (
        pixels(jacobian_picture(np.full(brain.shape, d), brain))[0, 0] for d in (2.0, 0.5, 1.0)
    )
    assert growing[0] > growing[2] + 50
    assert shrinking[2] > shrinking[0] + 50
    assert still.max() < 30


def test_colors_are_dim_outside_the_brain() -> None:
    brain = np.zeros((ROWS, COLUMNS), bool)
    brain[:, :25] = True
    picture = pixels(jacobian_picture(np.full(brain.shape, 2.0), brain))
    assert picture[60, 30].max() > picture[60, 120].max() + 60


def test_only_folded_voxels_are_marked() -> None:
    determinant = np.ones((ROWS, COLUMNS))
    determinant[10, 20] = 0.0
    determinant[30, 40] = -2.0
    marked = is_color(jacobian_picture(determinant, np.ones((ROWS, COLUMNS), bool)), MAGENTA, within=3)
    assert marked.sum() == 2 * SCALE**2
    assert marked[10 * SCALE, 20 * SCALE] and marked[31 * SCALE - 1, 41 * SCALE - 1]


def test_quality_is_warm_where_it_is_low_and_not_drawn_outside_the_brain() -> None:
    brain = np.zeros((ROWS, COLUMNS), bool)
    brain[:, :30] = True
    quality = np.full(brain.shape, 0.9, np.float32)
    quality[:, :15] = 0.2
    low, high, outside = pixels(quality_picture(0 * quality, quality, brain))[60, [20, 70, 120]]
    assert low[0] > low[2] + 50
    assert high[2] > high[0] + 50
    assert outside.tolist() == [round(255 * part) for part in to_rgb(BACKGROUND)]


def test_data_uri_contains_the_picture() -> None:
    picture = gray_picture(disc())
    head, text = data_uri(picture).split(",")
    assert head == "data:image/jpeg;base64"
    decoded = Image.open(io.BytesIO(base64.b64decode(text)))
    assert decoded.size == picture.size
    assert np.abs(pixels(decoded.convert("RGB")) - pixels(picture)).mean() < 3
