# SPDX-License-Identifier: Apache-2.0
"""What the alignment of a pair says of the scans."""

import nibabel as nib
import numpy as np
import pytest

from scripts.registration import ImageSources, Job, align_pair, read_pair
from scripts.synthesis.anatomies import phantom_anatomy

SIZE = (48, 60, 48)


@pytest.mark.slow
@pytest.mark.parametrize(("stretch", "count"), [((0.73, 0.73, 1.9), 1), ((1.0, 1.05, 1.0), 0)])
def test_wrong_voxel_sizes_are_told_of(stretch: tuple[float, float, float], count: int) -> None:
    """One scan of a phantom, and the same scan with other voxel sizes in its header."""
    anatomy = phantom_anatomy(SIZE)
    affine = np.diag([anatomy.spacing] * 3 + [1.0])
    sources = (
        ImageSources(image=nib.Nifti1Image(anatomy.intensities.numpy(), matrix))
        for matrix in (affine, np.diag([*stretch, 1.0]) @ affine)
    )
    pair = read_pair(Job(name="pair", folder="", fixed=next(sources), moving=next(sources)))
    warnings = align_pair(pair, "affine", 0).warnings
    assert len(warnings) == count and all("are the voxel sizes right?" in text for text in warnings)
