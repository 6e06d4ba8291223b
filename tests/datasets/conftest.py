# SPDX-License-Identifier: Apache-2.0
"""Small scans in files."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

RAS = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture
def scan_files(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """`scan_files(3)`: a scan whose image is largest at voxel (3, 1, 2), with label 700 and its only keypoint there."""

    def save(
        number: int, affine: np.ndarray = RAS, size: tuple[int, int, int] = (8, 9, 10), suffix: str = ".nii.gz"
    ) -> dict[str, str]:
        image = np.full(size, 0.1 * number, np.float32)
        image[number, 1, 2] = 9.0
        label = np.zeros(size, np.int16)
        label[number, 1, 2] = 700
        paths = {"image": f"P_{number}{suffix}", "label": f"L_{number}.nii.gz", "keypoints": f"P_{number}.csv"}
        kind = nib.MGHImage if suffix == ".mgz" else nib.Nifti1Image
        nib.save(kind(image, affine), tmp_path / paths["image"])
        nib.save(nib.Nifti1Image(label, affine), tmp_path / paths["label"])
        (tmp_path / paths["keypoints"]).write_text(f"{number},1,2\n")
        return {key: str(tmp_path / name) for key, name in paths.items()}

    return save
