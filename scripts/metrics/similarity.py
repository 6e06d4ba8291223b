"""Similarity of images."""

from torch import Tensor

from scripts.losses import LNCCLoss
from scripts.spatial import warp


def lncc(image: Tensor, field: Tensor) -> Tensor:
    """Squared local correlation of the fixed and the warped moving image, in [0, 1]: a metric that needs no labels.

    Args:
        image: `(2, D, H, W)`, fixed and moving.
        field: `(3, D, H, W)`, voxels.

    Returns:
        A scalar.
    """
    return -LNCCLoss()(warp(image[None, 1:], field[None]), image[None, :1])
