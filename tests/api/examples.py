# SPDX-License-Identifier: Apache-2.0
"""Grids, labels and options that the tests of the Python API share."""

from pathlib import Path

import nibabel as nib
import numpy as np

AFFINE = np.diag([-1.0, 1.2, 0.9, 1.0])
MOVING_AFFINE = np.array([[0.0, -1.1, 0, 0.8], [1, 0, 0, 4.7], [0, 0, 1, -1.7], [0, 0, 0, 1]])
SIZE, MOVING_SIZE = (28, 33, 25), (30, 27, 26)
ON_CPU = {"init": "none", "device": "cpu"}


def labels_of(array: np.ndarray) -> np.ndarray:
    return np.digitize(array, [1, 600, 750]).astype(np.int16)


def voxels(image: nib.Nifti1Image | Path) -> np.ndarray:
    return np.asarray((nib.load(image) if isinstance(image, Path) else image).dataobj)
