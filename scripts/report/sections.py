"""Axial, coronal and sagittal sections of volumes on RAS axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MARGIN = 7.0  # mm shown around the brain


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
    """One plane at one place. Positions on the page are in mm, with the first voxel's centre at 0."""

    plane: Plane
    index: int  # voxel along the axis that is cut
    voxel: tuple[float, float]  # mm along right and up
    size: tuple[int, int]  # voxels along right and up
    window: tuple[float, float, float, float]  # the part to show, mm: left, right, lower, upper

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The whole section, mm: left, right, lower, upper."""
        right, up = ((n - 0.5) * mm for n, mm in zip(self.size, self.voxel, strict=True))
        return -self.voxel[0] / 2, right, -self.voxel[1] / 2, up

    @property
    def aspect(self) -> float:
        """Height of the window by its width."""
        left, right, lower, upper = self.window
        return (upper - lower) / (right - left)

    def cut(self, volume: NDArray) -> NDArray:
        """What this section shows of `(X, Y, Z)`: rows run up, columns run right."""
        return volume.take(self.index, axis=self.plane.across).T


def best_sections(brain: NDArray[np.bool_], shown: NDArray[np.bool_], spacing: Sequence[float]) -> list[Section]:
    """Axial, coronal and sagittal section where the brain's area is largest.

    Args:
        brain: `(X, Y, Z)`, decides where to cut.
        shown: the same shape, decides how much of a section is shown; an empty mask shows everything.
        spacing: of the voxels, mm.
    """
    sections = []
    for plane in PLANES:
        area = brain.sum(axis=(plane.right, plane.up))
        in_plane = (plane.right, plane.up)
        ranges = [_range(shown, axis, spacing[axis]) for axis in in_plane]
        sections.append(
            Section(
                plane=plane,
                index=int(area.argmax()) if area.any() else len(area) // 2,
                voxel=(spacing[plane.right], spacing[plane.up]),
                size=(brain.shape[plane.right], brain.shape[plane.up]),
                window=(*ranges[0], *ranges[1]),
            )
        )
    return sections


def deformed_grid(section: Section, field: NDArray) -> list[NDArray]:
    """Lines of a regular grid in a section, each drawn at `x + u(x)`; what leaves the plane is projected onto it.

    Args:
        section: where to cut.
        field: `(3, X, Y, Z)`, voxels.

    Returns:
        Lines `(N, 2)`, mm on the page: first those that run right, then those that run up.
    """
    rights, ups = np.meshgrid(*(np.arange(n) for n in section.size))
    moved_right = (rights + section.cut(field[section.plane.right])) * section.voxel[0]
    moved_up = (ups + section.cut(field[section.plane.up])) * section.voxel[1]
    points = np.stack([moved_right, moved_up], axis=-1)
    return [*points[_every(section.size[1])], *points.swapaxes(0, 1)[_every(section.size[0])]]


def _every(size: int) -> slice:
    """Voxels with a grid line: about 28 lines in a scan of usual size, never closer than 6 voxels."""
    step = max(6, round(size / 28))
    return slice(step // 2, None, step)


def _range(shown: NDArray[np.bool_], axis: int, mm: float) -> tuple[float, float]:
    """Lower and upper edge of the mask along an axis, with a margin as far as the volume reaches, mm."""
    size = shown.shape[axis]
    occupied = np.flatnonzero(shown.any(axis=tuple({0, 1, 2} - {axis}))).tolist()
    first, last = (occupied[0], occupied[-1]) if occupied else (0, size - 1)
    margin = _MARGIN / mm
    return (max(first - margin, 0) - 0.5) * mm, (min(last + margin, size - 1) + 0.5) * mm
