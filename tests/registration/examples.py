# SPDX-License-Identifier: Apache-2.0
"""Images, transforms and files that the tests of `reuse` share."""

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from scripts.geometry import Affine, Field
from tests.fixtures.grids import rotation

SHAPE = (24, 22, 20)
REFERENCE_SHAPE = (21, 25, 18)


def grid_affine(kind: str, shape: tuple[int, ...], spacing: tuple[float, ...] = (1.2, 1.0, 1.4)) -> np.ndarray:
    """A grid centered on the world's origin."""
    directions = {"RAS": np.eye(3), "LAS": np.diag([-1, 1, 1]), "oblique": rotation((11, -17, 14))}[kind]
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


AFFINE = grid_affine("RAS", SHAPE)
REFERENCE_AFFINE = grid_affine("oblique", REFERENCE_SHAPE, (1.1, 0.9, 1.3))


def wavy(points: np.ndarray) -> np.ndarray:
    """Displacement in mm of points `(N, 3)`: some mm, without folds."""
    return np.stack([np.sin(points[:, 1] / 6), 1.2 * np.cos(points[:, 2] / 7), np.sin(points[:, 0] / 5)], axis=1) * 1.5


def wavy_field(shape: tuple[int, ...] = REFERENCE_SHAPE, affine: np.ndarray = REFERENCE_AFFINE) -> Field:
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3).astype(float)
    return Field(wavy(Affine(affine)(voxels)).reshape(*shape, 3).astype(np.float32), affine)


def blobs(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Six labels on a background of 0."""
    generator = np.random.default_rng(seed)
    positions = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    centers = generator.uniform(4, np.array(shape) - 4, (6, 3))
    distances = np.linalg.norm(positions[..., None, :] - centers, axis=-1)
    return np.where(distances.min(axis=-1) < 6, distances.argmin(axis=-1) + 1, 0)


def texture(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Float64 from 0 to about 1, another value in every voxel."""
    generator = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(0, 5, n) for n in shape], indexing="ij")
    values = (np.sin(x) * np.cos(y) * np.sin(z + 1) + 1) / 2.2 + generator.uniform(0, 0.05, shape)
    return values - values.min()


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, slope: float = 1, inter: float = 0) -> str:
    """Stored numbers as they are, with a slope."""
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    image = nib.Nifti1Image(array, affine, header, dtype=array.dtype)
    image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    if (slope, inter) != (1, 0):
        # nibabel sets the header's slope back where it has scaled nothing itself.
        with nib.openers.ImageOpener(path, "rb") as file:
            content = bytearray(file.read())
        content[112:120] = np.array([slope, inter], dtype="<f4").tobytes()
        with nib.openers.ImageOpener(path, "wb") as file:
            file.write(bytes(content))
    return str(path)


def stored(path: str | Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj.get_unscaled())


def affine_file(path: Path, matrix: np.ndarray) -> None:
    """An ITK affine of a RAS matrix, written by SimpleITK."""
    flip = np.diag([-1, -1, 1, 1])
    lps = flip @ matrix @ flip
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel())
    transform.SetTranslation(lps[:3, 3])
    sitk.WriteTransform(transform, str(path))


MATRIX = np.eye(4)
MATRIX[:3, :3] = rotation((6, 3, -7)) * [1.05, 0.97, 1.02]
MATRIX[:3, 3] = 1.5, -0.7, 0.9
