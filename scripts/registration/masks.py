# SPDX-License-Identifier: Apache-2.0
"""Whether a mask can be that of its image."""

import numpy as np

from scripts.datasets import lies_in_background
from scripts.io import Scan
from scripts.runtime import InputError

_LEAST_BRAIN = 1.0  # ml; smaller masks are mistakes: a newborn's brain has 300, a slab of 5 mm 50


def check_mask(scan: Scan, mask: Scan) -> None:
    """Refuse a mask that is too small for a brain, or lies where its image shows nothing.

    Args:
        scan: the image.
        mask: its brain mask, on its grid.

    Raises:
        InputError: if it cannot be the mask of this image.
    """
    volume = np.count_nonzero(mask.array) * scan.grid.voxel_volume / 1000
    if volume < _LEAST_BRAIN:
        raise InputError(f"{mask.path}: the mask has only {volume:.2g} ml; give the mask of a brain")
    if lies_in_background(scan.array, mask.array):
        raise InputError(
            f"{mask.path}: the mask lies beside what {scan.path} shows, in its background; give the mask of this image"
        )
