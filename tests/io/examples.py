# SPDX-License-Identifier: Apache-2.0
"""Fields and files that several tests of formats use."""

from pathlib import Path

import nibabel as nib
import numpy as np

from scripts.geometry import Field, Grid
from scripts.io.field_formats import FIELD_FORMATS
from tests.fixtures.grids import rotation

GRID = Grid((6, 7, 8), np.diag([-2.0, 3.0, 1.5, 1.0]))
NIFTI_FORMATS = [kind for kind in FIELD_FORMATS if kind != "h5"]


def affine_from(directions: np.ndarray) -> np.ndarray:
    """Voxels of 1.1 x 0.9 x 1.6 mm along these directions."""
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array([1.1, 0.9, 1.6])
    affine[:3, 3] = -31.5, 12.25, 70.125
    return affine


PERMUTED = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]])  # axes anterior, inferior, right
AFFINES = {
    "RAS": affine_from(np.eye(3)),
    "LAS": affine_from(np.diag([-1, 1, 1])),
    "LPS": affine_from(np.diag([-1, -1, 1])),
    "permuted": affine_from(PERMUTED),
    "oblique": affine_from(rotation((20, -35, 50))),
    "oblique LAS": affine_from(rotation((12, 7, -15)) @ np.diag([-1, 1, 1])),
    "nearly upside down": affine_from(rotation((179.95, 3, 0.1))),  # where the quaternion loses its precision
}
SHEARED = affine_from(np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]]))


def file_name(kind: str) -> str:
    """Name of a field's file in a format."""
    return "warp.h5" if kind == "h5" else "warp.nii.gz"


def random_field() -> Field:
    """Some millimeters at each voxel of `GRID`."""
    rng = np.random.default_rng(0)
    return Field(rng.normal(scale=3, size=(*GRID.shape, 3)).astype(np.float32), GRID.affine)


def write_nifti(path: Path, array: np.ndarray, intent: int = 0, name: str = "") -> Path:
    """Write an array as a NIfTI with an intent, as other tools do."""
    image = nib.Nifti1Image(array, GRID.affine)
    image.header.set_intent(intent, name=name)
    image.to_filename(path)
    return path
