import numpy as np
import pytest

from scripts.report.sections import best_sections, deformed_grid

SHAPE = (40, 50, 30)
AXIAL, CORONAL, SAGITTAL = 0, 1, 2


@pytest.fixture
def sections():
    everything = np.ones(SHAPE, bool)
    return best_sections(everything, everything)


def test_axes_run_right_and_up_as_the_letters_say(sections):
    """In RAS, x grows to the right, y to anterior, z to superior: 'LRPA' is left, right, lower, upper."""
    x, y, z = np.indices(SHAPE)
    for section, right, up, ends in zip(sections, (x, x, y), (y, z, z), ("LRPA", "LRIS", "PAIS"), strict=True):
        assert section.plane.ends == ends
        assert (np.diff(section.cut(right), axis=1) == 1).all()
        assert (np.diff(section.cut(up), axis=0) == -1).all()  # rows run down


def test_cuts_where_the_brain_is_largest():
    brain = np.zeros(SHAPE, bool)
    brain[10:20, 5:45, 3:9] = True
    brain[12, 20:40, 4:28] = True  # the largest sagittal area
    axial, coronal, sagittal = best_sections(brain, brain)
    assert sagittal.index == 12
    assert 20 <= coronal.index < 40
    assert 3 <= axial.index < 9


def test_the_shown_mask_is_seen_with_a_margin():
    shown = np.zeros(SHAPE, bool)
    shown[10:21, 20:31, 10:16] = True
    axial = best_sections(shown, shown)[AXIAL]
    assert (axial.columns, axial.rows) == (slice(3, 28), slice(13, 38))
    assert axial.size == (25, 25)
    np.testing.assert_array_equal(axial.cut(shown), shown[3:28, 13:38, axial.index].T[::-1])


def test_the_margin_stays_inside_the_volume(sections):
    assert [section.size for section in sections] == [(40, 50), (40, 30), (50, 30)]


def test_without_a_brain_the_middle_is_shown_whole():
    nothing = np.zeros(SHAPE, bool)
    sections = best_sections(nothing, nothing)
    assert [section.index for section in sections] == [15, 25, 20]
    assert [section.size for section in sections] == [(40, 50), (40, 30), (50, 30)]


def test_grid_of_the_identity_is_regular(sections):
    lines = deformed_grid(sections[CORONAL], np.zeros((3, *SHAPE)))
    runs_right = [line for line in lines if np.ptp(line[:, 1]) == 0]
    runs_up = [line for line in lines if np.ptp(line[:, 0]) == 0]
    assert len(runs_right) + len(runs_up) == len(lines)
    assert set(np.diff([line[0, 1] for line in runs_right])) == {6}
    assert set(np.diff([line[0, 0] for line in runs_up])) == {6}
    np.testing.assert_array_equal(runs_right[0][:, 0], np.arange(40))


@pytest.mark.parametrize("plane", [AXIAL, CORONAL, SAGITTAL])
def test_grid_is_drawn_where_the_moving_image_is_read(sections, plane):
    shift = np.array([2.0, -3.0, 1.0])
    section = sections[plane]
    still = deformed_grid(section, np.zeros((3, *SHAPE)))
    moved = deformed_grid(section, np.broadcast_to(shift[:, None, None, None], (3, *SHAPE)))
    expected = [shift[section.plane.right], -shift[section.plane.up]]  # rows of a picture run down
    for before, after in zip(still, moved, strict=True):
        np.testing.assert_allclose(after - before, np.broadcast_to(expected, before.shape))


def test_grid_lies_on_the_part_that_is_shown():
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


def test_grid_stays_readable_on_large_scans():
    brain = np.ones((300, 300, 3), bool)
    axial = best_sections(brain, brain)[AXIAL]
    assert 40 <= len(deformed_grid(axial, np.zeros((3, 300, 300, 3)))) <= 70
