import numpy as np
import pytest

from scripts.report.sections import best_sections, deformed_grid

SPACING = (1.5, 1.0, 2.0)
SHAPE = (40, 50, 30)
AXIAL, CORONAL, SAGITTAL = 0, 1, 2


@pytest.fixture
def sections():
    everything = np.ones(SHAPE, bool)
    return best_sections(everything, everything, SPACING)


def test_axes_run_right_and_up_as_the_letters_say(sections):
    """In RAS, x grows to the right, y to anterior, z to superior: 'LRPA' is left, right, lower, upper."""
    x, y, z = np.indices(SHAPE)
    for section, right, up, ends in zip(sections, (x, x, y), (y, z, z), ("LRPA", "LRIS", "PAIS"), strict=True):
        assert section.plane.ends == ends
        assert (np.diff(section.cut(right), axis=1) == 1).all()
        assert (np.diff(section.cut(up), axis=0) == 1).all()


def test_cuts_where_the_brain_is_largest():
    brain = np.zeros(SHAPE, bool)
    brain[10:20, 5:45, 3:9] = True
    brain[12, 20:40, 4:28] = True  # the largest sagittal area
    axial, coronal, sagittal = best_sections(brain, brain, SPACING)
    assert sagittal.index == 12
    assert 20 <= coronal.index < 40
    assert 3 <= axial.index < 9


def test_window_is_the_shown_mask_with_a_margin():
    shown = np.zeros(SHAPE, bool)
    shown[10:21, 20:31, 10:16] = True
    axial = best_sections(shown, shown, SPACING)[AXIAL]
    assert axial.window == pytest.approx((9.5 * 1.5 - 7, 20.5 * 1.5 + 7, 19.5 - 7, 30.5 + 7))
    assert axial.aspect == pytest.approx((11 + 14) / (11 * 1.5 + 14))


def test_window_stays_inside_the_volume(sections):
    for section in sections:
        assert section.window == section.extent
    assert sections[SAGITTAL].extent == pytest.approx((-0.5, 49.5, -1.0, 59.0))


def test_without_a_brain_the_middle_is_shown_whole():
    nothing = np.zeros(SHAPE, bool)
    sections = best_sections(nothing, nothing, SPACING)
    assert [section.index for section in sections] == [15, 25, 20]
    assert all(section.window == section.extent for section in sections)


def test_grid_of_the_identity_is_regular(sections):
    lines = deformed_grid(sections[CORONAL], np.zeros((3, *SHAPE)))
    runs_right = [line for line in lines if np.ptp(line[:, 1]) == 0]
    runs_up = [line for line in lines if np.ptp(line[:, 0]) == 0]
    assert len(runs_right) + len(runs_up) == len(lines)
    assert np.unique(np.diff([line[0, 1] for line in runs_right])) == pytest.approx([6 * 2.0])
    assert np.unique(np.diff([line[0, 0] for line in runs_up])) == pytest.approx([6 * 1.5])
    assert runs_right[0][:, 0] == pytest.approx(np.arange(40) * 1.5)


@pytest.mark.parametrize("plane", [AXIAL, CORONAL, SAGITTAL])
def test_grid_is_drawn_where_the_moving_image_is_read(sections, plane):
    shift = np.array([2.0, -3.0, 1.0])
    section = sections[plane]
    still = deformed_grid(section, np.zeros((3, *SHAPE)))
    moved = deformed_grid(section, np.broadcast_to(shift[:, None, None, None], (3, *SHAPE)))
    millimetres = shift * SPACING
    expected = [millimetres[section.plane.right], millimetres[section.plane.up]]
    for before, after in zip(still, moved, strict=True):
        np.testing.assert_allclose(after - before, np.broadcast_to(expected, before.shape))


def test_grid_stays_readable_on_large_scans():
    brain = np.ones((300, 300, 3), bool)
    axial = best_sections(brain, brain, (0.5, 0.5, 0.5))[AXIAL]
    assert 40 <= len(deformed_grid(axial, np.zeros((3, 300, 300, 3)))) <= 70
