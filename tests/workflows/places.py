# SPDX-License-Identifier: Apache-2.0
"""Places in the world: of an image's voxels, and where ITK takes them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.affines import from_matvec
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scripts.geometry.transforms import Affine

# A rotation, a scaling and a shift by about a fifth of a head.
MOTION = from_matvec(
    Rotation.from_euler("xyz", [8, -6, 10], degrees=True).as_matrix() @ np.diag([1.06, 0.96, 1.03]), [9, -14, 6]
)
HEAD = 3.0  # times the phantom: the size of a head, which the affine alignment is made for


def all_places(path: Path) -> NDArray[np.float64]:
    """RAS mm of all voxels, `(N, 3)`, in the array's order."""
    image = nib.load(path)
    return Affine(image.affine)(np.argwhere(np.ones(image.shape[:3])).astype(np.float64))


def head_places(path: Path) -> NDArray[np.float64]:
    """RAS mm of the head's voxels, `(N, 3)`."""
    image = nib.load(path)
    return Affine(image.affine)(np.argwhere(image.get_fdata() > 50).astype(np.float64))


def itk_places(transform: sitk.Transform, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """What ITK, whose world is LPS, makes of places in RAS mm."""
    flip = np.array([-1.0, -1.0, 1.0])
    return np.array([transform.TransformPoint(place) for place in (places * flip).tolist()]) * flip
