# SPDX-License-Identifier: Apache-2.0
"""Brain anatomies that virtual subjects are deformed from: geometric shapes, and the ICBM152 template."""

from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter
from torch import Tensor

from scripts.io import template_file

Size = tuple[int, int, int]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Extent of the brain as a share of the volume, along the axis where it is largest; deformations need the margin.
_FILL = 0.84


class Anatomy(NamedTuple):
    """A brain without a skull on an isotropic RAS grid (array axes left-right, posterior-anterior, inferior-superior).

    Attributes:
        labels: `(X, Y, Z)` int32, 0 outside the brain.
        intensities: `(X, Y, Z)` float32 in [0, 1], 0 outside the brain.
        spacing: voxel size, mm.
        names: names of the labels by value, without the background.
    """

    labels: Tensor
    intensities: Tensor
    spacing: float
    names: dict[int, str]


def phantom_anatomy(size: Size) -> Anatomy:
    """A brain of geometric shapes: folded cortex, white matter, ventricles, deep nuclei, fluid around them.

    Args:
        size: size of the volume, `(X, Y, Z)` voxels.
    """
    generator = np.random.default_rng(0)
    # The brain is an ellipsoid of 140 x 180 x 140 mm; positions are relative to its semi-axes.
    spacing = _spacing(np.array([140.0, 180.0, 140.0]), size)
    x, y, z = _world_grid(size, spacing)
    x, y, z = x / 70.0, y / 90.0, z / 70.0
    depth = np.sqrt(x**2 + y**2 + z**2)

    folds = np.zeros(size)
    for _ in range(6):
        wave = generator.normal(size=3)
        wave *= generator.uniform(8.0, 14.0) / np.linalg.norm(wave)
        folds += np.sin(wave[0] * x + wave[1] * y + wave[2] * z + generator.uniform(0, 2 * np.pi)) / np.sqrt(6)

    bilateral = {
        "Cortex": depth < 0.93 + 0.06 * folds,
        "White Matter": depth < 0.72 + 0.10 * folds,
        "Lateral Ventricle": _ellipsoid(x, y, z, (0.13, 0.0, 0.16), (0.10, 0.42, 0.14)),
        "Caudate": _ellipsoid(x, y, z, (0.27, 0.20, 0.16), (0.09, 0.22, 0.15)),
        "Thalamus": _ellipsoid(x, y, z, (0.17, -0.20, -0.06), (0.14, 0.20, 0.14)),
        "Putamen": _ellipsoid(x, y, z, (0.42, 0.06, -0.04), (0.10, 0.24, 0.17)),
    }
    brightness = {"Cortex": 0.6, "White Matter": 0.9, "Lateral Ventricle": 0.2, "Caudate": 0.64, "Thalamus": 0.72}
    labels = (depth < 1.0).astype(np.int32)
    names = {1: "Fluid"}
    levels = [0.0, 0.2]
    for name, region in bilateral.items():
        for side, half in (("Left", x < 0), ("Right", x >= 0)):
            value = len(names) + 1
            labels[region & half] = value
            names[value] = f"{side} {name}"
            levels.append(brightness.get(name, 0.68))
    intensities = gaussian_filter(np.array(levels)[labels], 0.6) * (labels > 0)
    return _anatomy(labels, intensities, spacing, names)


def icbm_anatomy(size: Size) -> Anatomy:
    """The ICBM152 2009a template (T1, gray and white matter) from nilearn, resampled.

    Labels: ventricles, white matter, deep gray matter, cerebellum and four lobes of cortex, left and right, and the
    brain stem. Regions are bounded by planes at approximate positions, which is enough for pictures and tests. The
    fluid around the brain is labeled as cortex, because it is thinner than a voxel at most sizes.

    Args:
        size: size of the volume, `(X, Y, Z)` voxels.

    Raises:
        InputError: as `io.template_file`.
    """
    files = [template_file(kind) for kind in ("t1", "gm", "wm")]
    template = nib.nifti1.load(files[0])
    occupied = np.argwhere(np.asarray(template.dataobj) > 0)
    low, high = occupied.min(axis=0), occupied.max(axis=0)
    spacing = _spacing((high - low) * 1.0, size)  # the template's voxels are 1 mm
    center = nib.affines.apply_affine(template.affine, (low + high) / 2.0)
    t1, gray, white = (_resample(file, size, spacing, center) for file in files)

    brain = t1 > 0.15
    x, y, z = (axis + c for axis, c in zip(_world_grid(size, spacing), center, strict=True))
    regions = _icbm_regions(x, y, z, gray, white)
    labels = np.zeros(size, dtype=np.int32)
    names: dict[int, str] = {}
    for name, region in regions.items():
        sides = [("", x < np.inf)] if name == "Brain Stem" else [("Left ", x < 0), ("Right ", x >= 0)]
        for side, half in sides:
            value = len(names) + 1
            labels[brain & (labels == 0) & region & half] = value
            names[value] = f"{side}{name}"
    return _anatomy(labels, t1 * brain, spacing, names)


def _icbm_regions(
    x: FloatArray, y: FloatArray, z: FloatArray, gray: FloatArray, white: FloatArray
) -> dict[str, BoolArray]:
    """Masks of the regions from MNI positions (mm); where two overlap, the first one is valid."""
    tissue = gray + white > 0.5
    return {
        "Ventricle": ~tissue & _ellipsoid(x, y, z, (10.0, -10.0, 8.0), (28.0, 50.0, 24.0)),
        "Brain Stem": tissue & (np.abs(x) < 17) & (z < -8) & (y > -42) & (y < -8),
        "Cerebellum": (y < -34) & (z < -6 - 0.35 * np.abs(x)),
        "White Matter": white > gray,
        "Deep Gray Matter": _ellipsoid(x, y, z, (0.0, -4.0, 4.0), (35.0, 30.0, 17.0)),
        "Temporal Cortex": (z < 2 - 0.35 * y) & (y < 18) & (y > -58) & (np.abs(x) > 14) & (z < 24),
        "Frontal Cortex": y > -0.7 * np.maximum(z - 20, 0),
        "Occipital Cortex": y < -68 - 0.2 * z,
        "Parietal Cortex": np.ones_like(tissue),
    }


def _resample(file: Path, size: Size, spacing: float, center: FloatArray) -> FloatArray:
    """A template file scaled to [0, 1], on the isotropic grid of this size around a center (RAS mm)."""
    image = nib.nifti1.load(file)
    volume = np.asarray(image.dataobj, dtype=np.float64) / 255.0
    volume = gaussian_filter(volume, 0.4 * max(spacing - 1.0, 0.0))  # against aliasing of thin structures
    affine = np.linalg.inv(image.affine) @ _affine(size, spacing, center)
    return np.asarray(affine_transform(volume, affine[:3, :3], affine[:3, 3], output_shape=size, order=1))


def _affine(size: Size, spacing: float, center: FloatArray) -> FloatArray:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = center - spacing * (np.array(size) - 1) / 2.0
    return affine


def _world_grid(size: Size, spacing: float) -> list[FloatArray]:
    """Coordinates of the voxels in mm from the center of the grid, each `(X, Y, Z)`."""
    return list(np.meshgrid(*[spacing * (np.arange(n) - (n - 1) / 2.0) for n in size], indexing="ij"))


def _spacing(extent: FloatArray, size: Size) -> float:
    return float(np.max(extent / (_FILL * np.array(size))))


def _ellipsoid(
    x: FloatArray,
    y: FloatArray,
    z: FloatArray,
    center: tuple[float, float, float],
    radii: tuple[float, float, float],
) -> BoolArray:
    """Mask of an ellipsoid and its mirror image at x = 0."""
    distance = [(p - c) / r for p, c, r in zip((np.abs(x), y, z), center, radii, strict=True)]
    return np.asarray(sum(d**2 for d in distance) < 1.0)


def _anatomy(labels: NDArray[np.int32], intensities: FloatArray, spacing: float, names: dict[int, str]) -> Anatomy:
    return Anatomy(torch.from_numpy(labels), torch.from_numpy(np.clip(intensities, 0.0, 1.0)).float(), spacing, names)
