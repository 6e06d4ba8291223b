# SPDX-License-Identifier: Apache-2.0
"""Similarity of images."""

from torch import Tensor

from scripts.losses import LNCCLoss
from scripts.spatial import warp


def lncc(image: Tensor, field: Tensor) -> Tensor:
    """Squared local normalized cross-correlation (LNCC) of the fixed and the warped moving image.

    Args:
        image: fixed and moving image, `(2, D, H, W)`.
        field: displacement field, `(3, D, H, W)`, voxels.

    Returns:
        Scalar in [0, 1]; linear changes of the intensities do not change it.
    """
    return -LNCCLoss()(warp(image[None, 1:], field[None]), image[None, :1])
