"""Transforms of the world: functions that take points of the fixed space, RAS mm, to points of the moving space.

That is the way of a pull-back: `moved(x) = moving(transform(x))`. A transform has an `inverse()`, and several of them
compose to one as functions do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.spatial import sample

_TOLERANCE = 1e-4  # mm
_ITERATIONS = 50


class Transform(Protocol):
    """What everything here has in common."""

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points `(N, 3)`, RAS mm."""
        ...

    def inverse(self) -> "Transform":
        """The transform that takes the points back."""
        ...


@dataclass(frozen=True)
class Affine:
    """An affine map.

    Args:
        matrix: `(4, 4)`, RAS mm to RAS mm.
    """

    matrix: NDArray[np.floating]

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points `(N, 3)`, RAS mm."""
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def inverse(self) -> "Affine":
        """The inverse map."""
        return Affine(np.linalg.inv(self.matrix))


@dataclass(frozen=True)
class Field:
    """A displacement field: `x -> x + u(x)`, with `u` linear between voxels and its border's value outside the grid.

    Args:
        displacement: `(X, Y, Z, 3)` float32, RAS mm.
        affine: `(4, 4)`, voxel of its grid to RAS mm.
    """

    displacement: NDArray[np.float32]
    affine: NDArray[np.float64]

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points `(N, 3)`, RAS mm."""
        voxels = torch.from_numpy(Affine(self.affine).inverse()(points))
        return points + sample(torch.from_numpy(self.displacement).permute(3, 0, 1, 2), voxels).T.numpy()

    def inverse(self) -> "InverseField":
        """The inverse, computed anew for the points that it is given."""
        return InverseField(self, _affine_part(self))


@dataclass(frozen=True)
class InverseField:
    """The inverse of a field, by fixed-point iteration (Chen et al., Medical Physics 2008).

    `x <- x + B^-1 (y - T(x))`, where `B` is the affine part of the field `T`: so it converges for fields with large
    rotations, too, as long as the remainder does not fold.

    Args:
        field: to invert.
        affine_part: the affine map that is nearest to it.
    """

    field: Field
    affine_part: Affine

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points `(N, 3)`, RAS mm."""
        towards = self.affine_part.inverse()
        linear = towards.matrix[:3, :3].T
        found = towards(points)
        active = np.arange(len(points))
        for _ in range(_ITERATIONS):
            step = (points[active] - self.field(found[active])) @ linear
            found[active] += step
            active = active[np.abs(step).max(axis=1) > _TOLERANCE]
            if not len(active):
                break
        return found

    def inverse(self) -> Field:
        """The field itself."""
        return self.field


@dataclass(frozen=True)
class Chain:
    """Transforms one after the other; the last of them comes first, as with `antsApplyTransforms -t`.

    Args:
        transforms: `Chain([a, b])(x) = a(b(x))`.
    """

    transforms: Sequence[Transform]

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points `(N, 3)`, RAS mm."""
        for transform in reversed(self.transforms):
            points = transform(points)
        return points

    def inverse(self) -> "Chain":
        """The inverse of each, in the opposite order."""
        return Chain([transform.inverse() for transform in reversed(self.transforms)])


def as_field(transform: Transform, shape: Sequence[int], affine: NDArray[np.float64]) -> Field:
    """The displacement of a transform at every voxel of a grid.

    Args:
        transform: any.
        shape: `(X, Y, Z)` of the grid.
        affine: `(4, 4)`, voxel to RAS mm.

    Returns:
        A field that equals the transform at the grid's voxels.
    """
    displacement = np.empty((*shape, 3), dtype=np.float32)
    for slab, points in grid_points(shape, affine):
        displacement[slab] = (transform(points) - points).reshape(*displacement[slab].shape)
    return Field(displacement, np.asarray(affine, dtype=np.float64))


def grid_points(shape: Sequence[int], affine: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Positions of a grid's voxels, slab by slab: whole grids of coordinates would take gigabytes.

    Args:
        shape: `(X, Y, Z)`.
        affine: `(4, 4)`, voxel to RAS mm.

    Yields:
        A slice of the first axis, and the positions `(N, 3)` of its voxels in C order, RAS mm.
    """
    to_world = Affine(np.asarray(affine, dtype=np.float64))
    thickness = max(1, 1_000_000 // (shape[1] * shape[2]))
    for start in range(0, shape[0], thickness):
        slab = slice(start, min(start + thickness, shape[0]))
        axes = (np.arange(slab.start, slab.stop), np.arange(shape[1]), np.arange(shape[2]))
        voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        yield slab, to_world(voxels.astype(np.float64))


def _affine_part(field: Field) -> Affine:
    """Least-squares fit to the field at about 30 voxels along each axis."""
    axes = [np.arange(0, size, max(1, size // 30)) for size in field.displacement.shape[:3]]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).T
    points = Affine(field.affine)(voxels.astype(np.float64))
    ends = points + field.displacement[tuple(voxels.T)]
    ones = np.ones((len(points), 1))
    solution = np.linalg.lstsq(np.hstack([points, ones]), ends, rcond=None)[0]
    matrix = np.eye(4)
    matrix[:3] = solution.T
    return Affine(matrix)
