# SPDX-License-Identifier: Apache-2.0
"""Where the sections are cut, and the deformed grid in them."""

import numpy as np
import pytest

from scripts.report.sections import Section, best_sections, deformed_grid

SHAPE = (40, 50, 30)
AXIAL, CORONAL, SAGITTAL = 0, 1, 2


@pytest.fixture
def sections() -> list[Section]:
    everything = np.ones(SHAPE, bool)
    return best_sections(everything, everything)


def test_axes_run_to_the_sides_of_the_letters(sections: list[Section]) -> None:
    """In RAS, x grows to the right, y to anterior, z to superior: 'LRPA' is left, right, lower, upper."""
    x, y, z = np.indices(SHAPE)
    for section, right, up, sides in zip(sections, (x, x, y), (y, z, z), ("LRPA", "LRIS", "PAIS"), strict=True):
        assert section.plane.sides == sides
        assert (np.diff(section.cut(right), axis=1) == 1).all()
        assert (np.diff(section.cut(up), axis=0) == -1).all()  # rows run down


def test_sections_are_where_the_brain_is_largest() -> None:
    brain = np.zeros(SHAPE, bool)
    brain[10:20, 5:45, 3:9] = True
    brain[12, 20:40, 4:28] = True  # the largest sagittal area
    axial, coronal, sagittal = best_sections(brain, brain)
    assert sagittal.index == 12
    assert 20 <= coronal.index < 40
    assert 3 <= axial.index < 9


def test_the_mask_is_shown_with_a_margin() -> None:
    # A margin of 7: 10 - 7 = 3 to 20 + 7 = 27, and 20 - 7 = 13 to 30 + 7 = 37.
    shown = np.zeros(SHAPE, bool)
    shown[10:21, 20:31, 10:16] = True
    axial = best_sections(shown, shown)[AXIAL]
    assert (axial.columns, axial.rows) == (slice(3, 28), slice(13, 38))
    assert axial.size == (25, 25)
    np.testing.assert_array_equal(axial.cut(shown), shown[3:28, 13:38, axial.index].T[::-1])


def test_the_margin_stays_inside_the_volume(sections: list[Section]) -> None:
    assert [section.size for section in sections] == [(40, 50), (40, 30), (50, 30)]


def test_an_empty_mask_gives_whole_middle_sections() -> None:
    empty = np.zeros(SHAPE, bool)
    sections = best_sections(empty, empty)
    assert [section.index for section in sections] == [15, 25, 20]
    assert [section.size for section in sections] == [(40, 50), (40, 30), (50, 30)]


def test_grid_of_the_identity_is_regular(sections: list[Section]) -> None:
    lines = deformed_grid(sections[CORONAL], np.zeros((3, *SHAPE)))
    runs_right = [line for line in lines if np.ptp(line[:, 1]) == 0]
    runs_up = [line for line in lines if np.ptp(line[:, 0]) == 0]
    assert len(runs_right) + len(runs_up) == len(lines)
    assert set(np.diff([line[0, 1] for line in runs_right])) == {6}
    assert set(np.diff([line[0, 0] for line in runs_up])) == {6}
    np.testing.assert_array_equal(runs_right[0][:, 0], np.arange(40))


@pytest.mark.parametrize("plane", [AXIAL, CORONAL, SAGITTAL])
def test_grid_is_drawn_where_the_moving_image_is_sampled(sections: list[Section], plane: int) -> None:
    shift = np.array([2.0, -3.0, 1.0])
    section = sections[plane]
    still = deformed_grid(section, np.zeros((3, *SHAPE)))
    moved = deformed_grid(section, np.broadcast_to(shift[:, None, None, None], (3, *SHAPE)))
    expected = [shift[section.plane.right], -shift[section.plane.up]]  # rows of a picture run down
    for before, after in zip(still, moved, strict=True):
        np.testing.assert_allclose(after - before, np.broadcast_to(expected, before.shape))


def test_grid_is_aligned_with_the_part_that_is_shown() -> None:
    """A field that is not zero at one voxel bends the grid at that voxel's place in the picture."""
    shown = np.zeros(SHAPE, bool)
    shown[15:25, 20:32, 10:20] = True
    axial = best_sections(shown, shown)[AXIAL]
    column, row = 3, 3  # on the first line that runs right, and on the first that runs up
    field = np.zeros((3, *SHAPE))
    field[0, axial.columns.start + column, axial.rows.stop - 1 - row, axial.index] = 2
    line = deformed_grid(axial, field)[0]
    assert line[column].tolist() == [column + 2, row]
    assert np.delete(line, column, axis=0)[:, 0].tolist() == [c for c in range(axial.size[0]) if c != column]


def test_large_scans_have_no_denser_grid() -> None:
    brain = np.ones((300, 300, 3), bool)
    axial = best_sections(brain, brain)[AXIAL]
    assert 40 <= len(deformed_grid(axial, np.zeros((3, 300, 300, 3)))) <= 70
