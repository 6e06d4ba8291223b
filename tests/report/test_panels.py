# SPDX-License-Identifier: Apache-2.0
"""The rows of pictures: planes, directions, folding."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from scripts.report.panels import panels, section_determinant
from scripts.report.sections import PLANES, Plane, Section, best_sections
from scripts.report.style import MAGENTA
from scripts.spatial import jacobian_determinant

Volumes = dict[str, np.ndarray]


def images(html: str) -> list[tuple[str, np.ndarray]]:
    """Name and pixels of each picture of a row."""
    found = re.findall(r'<img data-image="(\w+)" .*?src="data:image/jpeg;base64,(.*?)">', html)
    return [(name, np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))).astype(int)) for name, text in found]


def folding_field(shape: tuple[int, ...], center: tuple[int, ...]) -> np.ndarray:
    """A field that folds a small ball, and is zero far from it."""
    grid = np.indices(shape)
    bump = np.exp(-sum(((x - c) / 2.5) ** 2 for x, c in zip(grid, center, strict=True)))
    return np.stack([-3 * (grid[0] - center[0]) * bump, 0 * bump, 0 * bump]).astype(np.float32)


def test_every_row_shows_three_planes(volumes: Volumes) -> None:
    rows = panels(**volumes)
    assert set(rows) == {"compare", "checkerboard", "edges", "grid", "jacobian"}
    for name, row in rows.items():
        assert re.findall(r"<figcaption>(\w+)", row) == ["axial", "coronal", "sagittal"]
        assert len(images(row)) == (9 if name == "compare" else 3)
        assert all(re.findall(r'alt="(.*?)"', row))


def test_pictures_have_letters_of_the_patients_sides(volumes: Volumes) -> None:
    for row in panels(**volumes).values():
        assert "".join(re.findall(r'<span class="side" aria-hidden="true">(.)', row)) == "LRPALRISPAIS"


def test_compare_has_fixed_before_and_after(volumes: Volumes) -> None:
    found = images(panels(**volumes)["compare"])[:3]
    assert [name for name, _ in found] == ["fixed", "before", "after"]
    volumes["moved"] = volumes["fixed"]
    fixed, before, after = (pixels for _, pixels in images(panels(**volumes)["compare"])[:3])
    np.testing.assert_array_equal(fixed, after)
    assert np.abs(fixed - before).max() > 100


def test_right_anterior_and_superior_are_right_and_up() -> None:
    """The octant at the patient's right, front and top is bright: the upper right of every picture."""
    x, y, z = np.indices((24, 24, 24)) - 11.5
    fixed = 0.3 * (x**2 + y**2 + z**2 < 100).astype(np.float32)
    fixed[11:, 11:, 11:] *= 3
    for _, pixels in images(panels(fixed, fixed, fixed, np.zeros((3, 24, 24, 24), np.float32))["compare"]):
        rows, columns = np.nonzero(pixels.sum(axis=-1) > 500)
        assert rows.size > 200
        assert rows.mean() < 0.4 * pixels.shape[0]
        assert columns.mean() > 0.6 * pixels.shape[1]


def test_only_folding_is_marked(volumes: Volumes) -> None:
    def marked(field: np.ndarray) -> int:
        """Number of pixels in the color of folding."""
        rows = images(panels(**volumes | {"field": field})["jacobian"])
        return sum((np.abs(pixels - 255 * np.array(to_rgb(MAGENTA))).max(axis=-1) < 40).sum() for _, pixels in rows)

    assert marked(folding_field(volumes["fixed"].shape, (12, 16, 10))) > 100
    assert marked(volumes["field"]) == 0


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_determinant_of_a_section_is_that_of_the_volume(volumes: Volumes, plane: Plane) -> None:
    field = volumes["field"]
    whole = np.pad(jacobian_determinant(torch.from_numpy(field)[None])[0].numpy(), 1, mode="edge")
    for index in (0, 7, field.shape[plane.across + 1] - 1):
        section = Section(plane, index, slice(2, 15), slice(0, 11))
        np.testing.assert_allclose(section_determinant(section, field), section.cut(whole), atol=1e-6)


def test_planes_of_a_row_have_one_scale(volumes: Volumes) -> None:
    row = panels(**volumes)["grid"]
    brain = volumes["fixed"] > 0.05
    sections = best_sections(brain, brain | (volumes["before"] > 0.05))
    assert re.findall(r"--width: (\d+)", row) == [str(section.size[0]) for section in sections]
    assert [pixels.shape[1] / 3 for _, pixels in images(row)] == [section.size[0] for section in sections]


def test_empty_images_and_nan_fields_are_drawn(volumes: Volumes) -> None:
    empty = np.zeros_like(volumes["fixed"])
    rows = panels(empty, empty, empty, np.full_like(volumes["field"], np.nan))
    assert len(images(rows["grid"])) == 3
