# SPDX-License-Identifier: Apache-2.0
"""One pair of images, a transform between them, and what another tool is to make of it.

Points are compared to 1e-3 mm. Tools that move no points move the three coordinates instead, as images: linear
interpolation of a linear function is exact, so each moved voxel holds the point of the moving image that landed there.
Images are random, so neighbors differ by up to 1; the tools' float32 coordinates are right to some 1e-5 voxel, which
makes 1e-4; 1e-3 is allowed. What ends outside an image is left out: each tool has its own rule there.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from scripts.geometry import Affine, Grid, Transform, resample
from scripts.io import save_image

LPS = np.array([-1.0, -1.0, 1.0])  # not the constant of the code, whose errors a test must not share
POINTS = 1e-3  # mm
IMAGES = 1e-3


def voxel_positions(grid: Grid) -> np.ndarray:
    """`(X, Y, Z, 3)`, RAS mm."""
    index = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3)
    return Affine(grid.affine)(index.astype(float)).reshape(*grid.shape, 3)


class Case:
    """Files of one pair of grids, and what is to come out."""

    def __init__(self, folder: Path, truth: Transform, fixed: Grid, moving: Grid) -> None:
        self.folder, self.truth, self.fixed, self.moving = folder, truth, fixed, moving
        self.image = np.random.default_rng(0).random(moving.shape).astype(np.float32)
        save_image(folder / "fixed.nii.gz", np.zeros(fixed.shape, np.float32), fixed.affine)
        save_image(folder / "moving.nii.gz", self.image, moving.affine)
        for axis, values in enumerate(np.moveaxis(voxel_positions(moving), -1, 0)):
            save_image(folder / f"position{axis}.nii.gz", values.astype(np.float32), moving.affine)
        self.ends = truth(voxel_positions(fixed).reshape(-1, 3))
        voxels = Affine(np.linalg.inv(moving.affine))(self.ends)
        inside = ((voxels > 0.01) & (voxels < np.array(moving.shape) - 1.01)).all(axis=1)
        self.inside = inside.reshape(fixed.shape)
        assert 0.5 < self.inside.mean() < 1

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def check(self, name: str, moved: np.ndarray) -> None:
        """Compare what a tool made of `moving` or of a `position` with what we do."""
        if name == "moving":
            ours = resample(self.image, self.moving.affine, self.fixed, self.truth)
            assert np.abs(moved - ours)[self.inside].max() < IMAGES
            assert np.ptp(ours[self.inside]) > 0.5
        else:
            expected = self.ends[:, int(name[-1])].reshape(self.fixed.shape)
            assert np.abs(moved - expected)[self.inside].max() < POINTS


IMAGES_TO_MOVE = ("moving", "position0", "position1", "position2")


def assert_same(transform: Callable[[np.ndarray], np.ndarray], truth: Transform, points: np.ndarray) -> None:
    found, expected = transform(points), truth(points)
    assert np.abs(found - expected).max() < POINTS
    assert np.abs(expected - points).max() > 1
