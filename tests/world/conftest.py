"""Two grids and an analytic transform between them: what the tests of formats and of other tools share."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from scripts.world import Affine, Field, Grid, Transform, as_field

SHAPE = (15, 17, 13)


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """About all three axes in turn."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        result = turn @ result
    return result


def centred_grid(shape: tuple[int, ...], directions: np.ndarray, spacing: tuple[float, ...]) -> Grid:
    """A grid around one point in the world, whatever its axes."""
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing)
    affine[:3, 3] = np.array([12.5, -31.0, 44.25]) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Grid(shape, affine)


ORIENTATIONS = {
    "RAS": np.eye(3),
    "LAS": np.diag([-1.0, 1, 1]),
    "LPS": np.diag([-1.0, -1, 1]),
    "oblique": rotation((20, -35, 50)),
}


@dataclass(frozen=True)
class Smooth:
    """`A (x + u(x))` with an analytic `u` of some 2 mm, each axis its own, so that no two can be confused."""

    affine: Affine

    def __call__(self, points: np.ndarray) -> np.ndarray:
        x, y, z = (points / 9.0).T
        u = np.stack([1.5 * np.sin(y) + 0.5 * np.cos(z), np.cos(x - z), 1.2 * np.sin(x + 0.4 * y)], axis=1)
        return self.affine(points + u)

    def inverse(self) -> Transform:
        raise NotImplementedError


@pytest.fixture(params=ORIENTATIONS)
def fixed(request: pytest.FixtureRequest) -> Grid:
    return centred_grid(SHAPE, ORIENTATIONS[request.param], (1.9, 1.6, 2.2))


@pytest.fixture(params=["same grid", "other grid"])
def moving(request: pytest.FixtureRequest, fixed: Grid) -> Grid:
    if request.param == "same grid":
        return fixed
    permuted = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]])  # axes anterior, inferior, right
    return centred_grid((23, 21, 19), rotation((5, 10, -8)) @ permuted, (1.7, 1.5, 1.4))


@pytest.fixture
def residual() -> Smooth:
    """The deformable part alone."""
    return Smooth(Affine(np.eye(4)))


@pytest.fixture
def matrix() -> np.ndarray:
    """An affine about the centre of the grids, with nothing symmetric."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((4, -6, 9)) @ np.array([[1.05, 0.04, 0], [0, 0.96, 0.02], [0.01, 0, 1.03]])
    centre = np.array([12.5, -31.0, 44.25])
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + np.array([1.0, -0.5, 0.75])
    return matrix


@pytest.fixture
def truth(matrix: np.ndarray) -> Smooth:
    """The transform fused with the affine."""
    return Smooth(Affine(matrix))


@pytest.fixture
def field(truth: Smooth, fixed: Grid) -> Field:
    """`truth` on the fixed grid."""
    return as_field(truth, fixed.shape, fixed.affine)


@pytest.fixture
def points(fixed: Grid) -> np.ndarray:
    """`(N, 3)`, RAS mm: some voxel centres of the fixed grid and some points between, none near its border."""
    rng = np.random.default_rng(0)
    between = rng.uniform(2, np.array(fixed.shape) - 3, (20, 3))
    return Affine(fixed.affine)(np.vstack([between, between.round()]))


@pytest.fixture
def voxel_points(fixed: Grid) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Indices away from the border, and their positions in RAS mm."""

    def inner(margin: int) -> tuple[np.ndarray, np.ndarray]:
        axes = [np.arange(margin, n - margin) for n in fixed.shape]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return index, Affine(fixed.affine)(index.astype(float))

    return inner
