"""Axial, coronal and sagittal sections of volumes on RAS axes with voxels of 1 mm."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MARGIN = 7  # voxels shown around the brain


class Plane(NamedTuple):
    """A way to cut a volume: the array axes that run right and up on the page, and the one across it."""

    name: str
    right: int
    up: int
    across: int
    ends: str  # the patient's side at the left, right, lower and upper edge


# Not mirrored: the patient's left is on the left (neurological convention).
PLANES = (
    Plane("axial", 0, 1, 2, "LRPA"),
    Plane("coronal", 0, 2, 1, "LRIS"),
    Plane("sagittal", 1, 2, 0, "PAIS"),
)


@dataclass(frozen=True)
class Section:
    """One plane at one place, and the part of it that is shown."""

    plane: Plane
    index: int  # voxel along the axis that is cut
    columns: slice  # voxels along the axis that runs right
    rows: slice  # voxels along the axis that runs up

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the part that is shown."""
        return self.columns.stop - self.columns.start, self.rows.stop - self.rows.start

    def cut(self, volume: NDArray) -> NDArray:
        """What this section shows of `(X, Y, Z)`, as a picture `(rows, columns)`: the first row is the top."""
        return volume.take(self.index, axis=self.plane.across).T[self.rows, self.columns][::-1]


def best_sections(brain: NDArray[np.bool_], shown: NDArray[np.bool_]) -> list[Section]:
    """Axial, coronal and sagittal section where the brain's area is largest.

    Args:
        brain: `(X, Y, Z)`, decides where to cut; without any, in the middle.
        shown: the same shape, decides how much of a section is shown; an empty mask shows everything.
    """
    sections = []
    for plane in PLANES:
        area = brain.sum(axis=(plane.right, plane.up))
        sections.append(
            Section(
                plane=plane,
                index=int(area.argmax()) if area.any() else len(area) // 2,
                columns=_range(shown, plane.right),
                rows=_range(shown, plane.up),
            )
        )
    return sections


def deformed_grid(section: Section, field: NDArray) -> list[NDArray]:
    """Lines of a regular grid in a section, each drawn at `x + u(x)`; what leaves the plane is projected onto it.

    Args:
        section: where to cut.
        field: `(3, X, Y, Z)`, voxels.

    Returns:
        Lines `(N, 2)`, columns and rows of the picture that `section.cut` gives, in voxels with the centre of its
        upper left one at 0: first the lines that run right, then those that run up.
    """
    width, height = section.size
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    points = np.stack(
        [columns + section.cut(field[section.plane.right]), rows - section.cut(field[section.plane.up])], axis=-1
    )
    return [*points[_every(height)], *points.swapaxes(0, 1)[_every(width)]]


def _every(size: int) -> slice:
    """Voxels with a grid line: about 28 lines in a scan of usual size, never closer than 6 voxels."""
    step = max(6, round(size / 28))
    return slice(step // 2, None, step)


def _range(shown: NDArray[np.bool_], axis: int) -> slice:
    """Extent of the mask along an axis, with a margin as far as the volume reaches."""
    size = shown.shape[axis]
    occupied = np.flatnonzero(shown.any(axis=tuple({0, 1, 2} - {axis}))).tolist()
    first, last = (occupied[0], occupied[-1]) if occupied else (0, size - 1)
    return slice(max(first - _MARGIN, 0), min(last + _MARGIN + 1, size))
