# SPDX-License-Identifier: Apache-2.0
"""Transforms of the world: functions that take points of the fixed space, RAS mm, to points of the moving space.

That is the way of a pull-back: `moved(x) = moving(transform(x))`. A transform has an `inverse()`, and several of them
compose to one as functions do.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.geometry.grid import Grid
from scripts.spatial import sample

_SLAB = 250_000  # voxels

# Of the inversion of a field.
_TOLERANCE = 5e-4  # mm, between a point and the image of its inverse
_ITERATIONS = 30
_DIFFERENCE = 0.05  # mm, step of the forward differences
_LONGEST_STEP = 5.0  # mm
_LEAST_DETERMINANT = 0.05  # in absolute value: below, the step is taken as if the determinant were this


class Transform(Protocol):
    """A map of points that has an inverse."""

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
        # By torch: NumPy's own threads slow each other down on a busy machine.
        matrix, start = torch.from_numpy(np.asarray(self.matrix, dtype=np.float64)), np.ascontiguousarray(points)
        return torch.addmm(matrix[:3, 3], torch.from_numpy(start).double(), matrix[:3, :3].T).numpy()

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
    affine: NDArray[np.floating]

    @property
    def grid(self) -> Grid:
        """The grid that the displacement is given on."""
        return Grid(self.displacement.shape[:3], self.affine)

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points `(N, 3)`, RAS mm."""
        voxels = torch.from_numpy(Affine(self.affine).inverse()(points))
        displacement = torch.from_numpy(self.displacement).permute(3, 0, 1, 2)
        return points + sample(displacement, voxels).T.numpy()

    def inverse(self) -> "InverseField":
        """The inverse, computed anew for the points that it is given."""
        linear = _affine_part(self)
        rough = InverseField(self, linear.inverse())
        coarse = as_field(Chain([rough, linear]), _every_third_voxel(self.grid))
        return InverseField(self, Chain([coarse, linear.inverse()]))


@dataclass(frozen=True)
class InverseField:
    """The inverse of a field, by Newton's method with steps that are halved until the error shrinks.

    Fixed-point iteration, the usual way (Chen et al., Medical Physics 2008), diverges where the field stretches to
    twice the size or turns; this converges wherever the field does not fold.

    Args:
        field: field that is inverted.
        start: first guess, near the inverse.
    """

    field: Field
    start: Transform

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points `(N, 3)`, RAS mm."""
        found = self.start(points)
        errors = points - self.field(found)
        # Each round works on the points alone that have not converged yet.
        left: NDArray[np.intp] = np.arange(len(points))
        guesses: NDArray[np.float64] = found
        parts: NDArray[np.float64] = np.ones(len(points))
        for _ in range(_ITERATIONS):
            open_ = _squared(errors) > _TOLERANCE**2
            left, guesses, errors, parts = left[open_], guesses[open_], errors[open_], parts[open_]
            if not len(left):
                break
            trials = guesses + parts[:, None] * self._steps(guesses, points[left], errors)
            trial_errors = points[left] - self.field(trials)
            better = _squared(trial_errors) < _squared(errors)
            guesses[better], errors[better] = trials[better], trial_errors[better]
            parts = np.where(better, 1.0, parts / 2)
            found[left] = guesses
        return found

    def inverse(self) -> Field:
        """The field itself."""
        return self.field

    def _steps(
        self, guesses: NDArray[np.float64], points: NDArray[np.float64], errors: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """`J^-1 error` with the field's Jacobian by forward differences, by Cramer's rule; `_LONGEST_STEP` at most."""
        a, b, c = ((self.field(guesses + _DIFFERENCE * axis) - (points - errors)) / _DIFFERENCE for axis in np.eye(3))
        across = np.cross(b, c)
        determinant = np.einsum("ij,ij->i", a, across)
        determinant = np.copysign(np.maximum(np.abs(determinant), _LEAST_DETERMINANT), determinant)
        rows = (across, np.cross(c, a), np.cross(a, b))
        steps = np.stack([np.einsum("ij,ij->i", row, errors) for row in rows], axis=1) / determinant[:, None]
        return steps * np.minimum(1.0, _LONGEST_STEP / np.sqrt(_squared(steps)).clip(1e-12))[:, None]


@dataclass(frozen=True)
class Chain:
    """Transforms one after the other, the last of them first, as in an ITK composite or a product of matrices.

    The `-t` of `antsApplyTransforms` and the `-r` of greedy list them the other way round.

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


def as_field(transform: Transform, grid: Grid) -> Field:
    """The displacement of a transform at every voxel of a grid.

    Args:
        transform: transform from points of the grid's space, RAS mm.
        grid: grid of the field.

    Returns:
        A field that equals the transform at the grid's voxels.
    """
    displacement = np.empty((*grid.shape, 3), dtype=np.float32)
    fill_grid(displacement, grid.affine, lambda points: transform(points) - points)
    return Field(displacement, np.asarray(grid.affine, dtype=np.float64))


def fill_grid(
    out: NDArray, affine: NDArray[np.floating], function: Callable[[NDArray[np.float64]], NDArray[Any]]
) -> None:
    """Evaluate a function at every voxel of a grid, slab by slab: whole grids of coordinates would take gigabytes.

    As many slabs at a time as torch has threads.

    Args:
        out: array that gets the values, `(X, Y, Z, ...)`.
        affine: `(4, 4)`, voxel to RAS mm.
        function: function of points `(N, 3)`, RAS mm, that gives a value for each.
    """
    to_world = Affine(affine)
    thickness = max(1, _SLAB // (out.shape[1] * out.shape[2]))

    def fill(start: int) -> None:
        slab = out[start : start + thickness]
        axes = (np.arange(start, start + len(slab)), np.arange(out.shape[1]), np.arange(out.shape[2]))
        voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        slab[...] = function(to_world(voxels.astype(np.float64))).reshape(slab.shape)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(fill, range(0, out.shape[0], thickness)))  # a list, so that errors come out


def _squared(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.einsum("ij,ij->i", vectors, vectors)
    return lengths


def _every_third_voxel(grid: Grid) -> Grid:
    """A grid of every third voxel that covers all of another one."""
    shape = tuple(-(-(size - 1) // 3) + 1 for size in grid.shape)
    return Grid(shape, grid.affine @ np.diag([3.0, 3.0, 3.0, 1.0]))


def _affine_part(field: Field) -> Affine:
    """Least-squares fit to the field at about 30 voxels along each axis."""
    axes = [np.arange(0, size, max(1, size // 30)) for size in field.displacement.shape[:3]]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).T
    points = Affine(field.affine)(voxels.astype(np.float64))
    center = points.mean(axis=0)
    # A fit to the displacement, about the center: a field of one slice leaves the direction across it as it is.
    design = np.hstack([points - center, np.ones((len(points), 1))])
    solution = np.linalg.lstsq(design, field.displacement[tuple(voxels.T)], rcond=None)[0]
    matrix = np.eye(4)
    matrix[:3, :3] += solution[:3].T
    matrix[:3, 3] = solution[3] - solution[:3].T @ center
    return Affine(matrix)
