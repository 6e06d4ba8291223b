import warnings

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from scripts.report import registration_picture
from scripts.report.style import LOUD
from scripts.spatial import warp

SHAPE = (24, 32, 20)
GRID = np.indices(SHAPE)
HEAD, FOOT = 104, 66  # rows of the page above and below the panels
LEFT, PANEL, GAP = 32, 217, 6


def ball(centre, radii):
    return sum(((x - c) / r) ** 2 for x, c, r in zip(GRID, centre, radii, strict=True)) < 1


def brain(shift=0):
    return 100.0 * ball((12 + shift, 16, 10), (9, 12, 8)) + 80 * ball((12 + shift, 17, 10), (4, 6, 4))


def smooth_field():
    return np.stack([np.sin(GRID[1] / 6), np.cos(GRID[0] / 5), np.sin(GRID[2] / 4)])


def folding_field():
    """Turns a small ball at the brain's middle inside out."""
    bump = np.exp(-sum(((x - c) / 2.5) ** 2 for x, c in zip(GRID, (12, 16, 10), strict=True)))
    return np.stack([-3 * (GRID[0] - 12) * bump, 0 * bump, 0 * bump])


def draw(path, field, fixed=None, moving=None, **options):
    fixed = brain() if fixed is None else fixed
    moving = brain(shift=1) if moving is None else moving
    moved = warp(torch.from_numpy(moving)[None, None], torch.from_numpy(field)[None])[0, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registration_picture(path, fixed, moving, moved, torch.from_numpy(field), **options)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def column(picture, index):
    """The panels of one column."""
    left = LEFT + index * (PANEL + GAP)
    return picture[HEAD:-FOOT, left : left + PANEL]


def unlike(first, second):
    """Share of the pixels that differ; where a pixel ends may round differently from column to column."""
    return (first != second).any(axis=-1).mean()


def loud(picture):
    return (np.abs(picture - 255 * np.array(to_rgb(LOUD))).max(axis=-1) < 3).sum()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    fields = {"identity": np.zeros((3, *SHAPE)), "smooth": smooth_field(), "folding": folding_field()}
    return {name: draw(folder / f"{name}.png", field, title="one → other") for name, field in fields.items()}


def test_is_1600_pixels_wide_and_small(tmp_path):
    noise = np.random.default_rng(0).random((3, *SHAPE))
    height, width, _ = draw(tmp_path / "x.png", noise, fixed=100 * noise[0], moving=100 * noise[1]).shape
    assert width == 1600
    assert 600 < height < 1400
    assert (tmp_path / "x.png").stat().st_size < 600_000


def test_identity_changes_nothing_from_before_to_after(pictures):
    identity = pictures["identity"]
    assert unlike(column(identity, 1), column(identity, 2)) < 0.01
    assert unlike(column(identity, 3), column(identity, 4)) < 0.01


def test_identity_has_a_blank_jacobian(pictures):
    assert np.ptp(column(pictures["identity"], 6), axis=(0, 1)).max() == 0


@pytest.mark.parametrize("index", [2, 4, 5, 6])
def test_what_a_field_changes_differs_from_identity(pictures, index):
    assert (column(pictures["smooth"], index) != column(pictures["identity"], index)).any()


@pytest.mark.parametrize("index", [0, 1, 3])
def test_what_a_field_does_not_touch_is_the_same(pictures, index):
    np.testing.assert_array_equal(column(pictures["smooth"], index), column(pictures["identity"], index))


def test_folded_voxels_are_marked_and_nothing_else(pictures):
    assert loud(column(pictures["folding"], 6)) > 100
    assert loud(pictures["smooth"]) == loud(pictures["identity"]) == 0


def test_percentage_of_folding_raises_the_alarm(pictures):
    assert loud(pictures["folding"][:HEAD]) > 20


def test_right_front_and_top_are_right_and_up(tmp_path):
    """The octant at the patient's right, front and top is bright: upper right of every panel."""
    x, y, z = np.indices((24, 24, 24)) - 11.5
    fixed = 30.0 * (x**2 + y**2 + z**2 < 100)
    fixed[11:, 11:, 11:] *= 3
    picture = draw(tmp_path / "x.png", np.zeros((3, 24, 24, 24)), fixed=fixed, moving=fixed)
    for panel in np.split(column(picture, 1)[: 3 * PANEL], 3):
        rows, columns = np.nonzero(panel.sum(axis=-1) > 600)
        assert rows.size > 1000
        assert rows.mean() < 0.4 * PANEL
        assert columns.mean() > 0.6 * PANEL


def test_spacing_sets_the_proportions(tmp_path):
    field = np.zeros((3, *SHAPE))
    flat = draw(tmp_path / "flat.png", field, spacing=(1.0, 1.0, 1.0))
    tall = draw(tmp_path / "tall.png", field, spacing=(1.0, 1.0, 2.0))
    assert tall.shape[0] > flat.shape[0] + 150


def test_empty_images_and_odd_titles_are_drawn(tmp_path):
    nothing = np.zeros(SHAPE)
    picture = draw(tmp_path / "x.png", np.zeros((3, *SHAPE)), fixed=nothing, moving=nothing, title="a$b_{c$")
    assert picture.shape[1] == 1600


def test_refuses_shapes_that_do_not_fit(tmp_path):
    image = np.zeros(SHAPE)
    for field in (np.zeros((*SHAPE, 3)), np.zeros((2, *SHAPE)), np.zeros((3, 9, 9, 9))):
        with pytest.raises(ValueError, match="expected three images"):
            registration_picture(tmp_path / "x.png", image, image, image, field)
    with pytest.raises(ValueError, match="expected three images"):
        registration_picture(tmp_path / "x.png", image, image, image[1:], np.zeros((3, *SHAPE)))
    assert not (tmp_path / "x.png").exists()
