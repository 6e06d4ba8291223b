# SPDX-License-Identifier: Apache-2.0
"""Axial, coronal and sagittal sections of volumes `(X, Y, Z)` on RAS axes with cubic voxels."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MARGIN = 7  # voxels that are shown around the mask


class Plane(NamedTuple):
    """Orientation of a section.

    Attributes:
        name: name of the plane.
        right, up: array axes that run to the right and up in the picture.
        across: array axis at right angles to the plane.
        sides: one letter for the patient's side at the left, right, lower and upper edge of the picture.
    """

    name: str
    right: int
    up: int
    across: int
    sides: str


# Not mirrored: the patient's left is on the left (neurological convention).
PLANES = (
    Plane("axial", 0, 1, 2, "LRPA"),
    Plane("coronal", 0, 2, 1, "LRIS"),
    Plane("sagittal", 1, 2, 0, "PAIS"),
)


@dataclass(frozen=True)
class Section:
    """One section, and the part of it that is shown.

    Attributes:
        plane: orientation of the section.
        index: voxel along the axis across the plane, from 0.
        columns, rows: voxels that are shown along the axes that run right and up.
    """

    plane: Plane
    index: int
    columns: slice
    rows: slice

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the part that is shown."""
        return self.columns.stop - self.columns.start, self.rows.stop - self.rows.start

    def cut(self, volume: NDArray) -> NDArray:
        """The section of a volume `(X, Y, Z)` as a picture `(rows, columns)`, the top row first."""
        return volume.take(self.index, axis=self.plane.across).T[self.rows, self.columns][::-1]


def best_sections(brain: NDArray[np.bool_], shown: NDArray[np.bool_]) -> list[Section]:
    """Axial, coronal and sagittal section where the brain's area is largest.

    Args:
        brain: mask of the brain, `(X, Y, Z)`; the sections of an empty mask are in the middle.
        shown: mask of what the sections have to show, the same shape; those of an empty mask show everything.
    """
    sections = []
    for plane in PLANES:
        area = brain.sum(axis=(plane.right, plane.up))
        sections.append(
            Section(
                plane=plane,
                index=int(area.argmax()) if area.any() else len(area) // 2,
                columns=_extent(shown, plane.right),
                rows=_extent(shown, plane.up),
            )
        )
    return sections


def deformed_grid(section: Section, field: NDArray) -> list[NDArray]:
    """Lines of a regular grid in a section, drawn at `x + u(x)` and projected onto the plane.

    Args:
        section: section that the grid lies in.
        field: displacement field u, `(3, X, Y, Z)`, voxels.

    Returns:
        Lines `(N, 2)`: column and row in the picture that `section.cut` gives, in voxels, the center of the upper left
        one at (0, 0). First the lines that run right, then those that run up.
    """
    width, height = section.size
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    points = np.stack(
        [columns + section.cut(field[section.plane.right]), rows - section.cut(field[section.plane.up])], axis=-1
    )
    return [*points[_grid_lines(height)], *points.swapaxes(0, 1)[_grid_lines(width)]]


def _grid_lines(size: int) -> slice:
    """Voxels with a grid line: about 28 lines in a scan of usual size, at least 6 voxels apart."""
    step = max(6, round(size / 28))
    return slice(step // 2, None, step)


def _extent(shown: NDArray[np.bool_], axis: int) -> slice:
    """Extent of the mask along an axis with `_MARGIN` around it, inside the volume."""
    size = shown.shape[axis]
    occupied = np.flatnonzero(shown.any(axis=tuple({0, 1, 2} - {axis}))).tolist()
    first, last = (occupied[0], occupied[-1]) if occupied else (0, size - 1)
    return slice(max(first - _MARGIN, 0), min(last + _MARGIN + 1, size))
