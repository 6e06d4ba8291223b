# SPDX-License-Identifier: Apache-2.0
"""Files that the tests of `reuse` share."""

from pathlib import Path

import numpy as np
import pytest

from scripts.io.nifti import save_itk_field
from tests.registration.examples import AFFINE, REFERENCE_AFFINE, REFERENCE_SHAPE, SHAPE, save, wavy_field


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a reference (oblique), a field on its grid, and the identity's field."""
    save(tmp_path / "reference.nii.gz", np.zeros(REFERENCE_SHAPE, np.uint8), REFERENCE_AFFINE)
    save(tmp_path / "same.nii.gz", np.zeros(SHAPE, np.uint8))
    save_itk_field(tmp_path / "warp.nii.gz", wavy_field().displacement, REFERENCE_AFFINE)
    save_itk_field(tmp_path / "identity.nii.gz", np.zeros((*SHAPE, 3), np.float32), AFFINE)
    return tmp_path
