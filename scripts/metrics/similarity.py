# SPDX-License-Identifier: Apache-2.0
"""Similarity of images."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, uniform_filter
from torch import Tensor

from scripts.losses import LNCCLoss
from scripts.spatial import warp

BINS = 32  # of the joint histogram, along each axis
# mm that are taken off a foreground's outline. There a brain stands out from the background in every contrast, so a
# better fit of the outlines would hide what happens inside.
RIM = 3.0
WINDOW = 9  # voxels, as that of LNCC
FLAT = 1e-4  # variance in [0, 1]², below which a window has no contrast


def lncc(image: Tensor, field: Tensor, known: Tensor | None = None) -> Tensor:
    """Squared local normalized cross-correlation (LNCC) of the fixed and the warped moving image.

    Args:
        image: fixed and moving image, `(2, D, H, W)`.
        field: displacement field, `(3, D, H, W)`, voxels.
        known: `(D, H, W)` bool, voxels of the fixed image that are compared; by default all.

    Returns:
        Scalar in [0, 1]; linear changes of the intensities do not change it.
    """
    moved, fixed = warp(image[None, 1:], field[None]), image[None, :1]
    if known is not None:
        moved, fixed = moved * known, fixed * known
    return -LNCCLoss()(moved, fixed)


def mutual_information(image: Tensor, field: Tensor, inside: Tensor) -> float:
    """Normalized mutual information of the fixed and the warped moving image, `2 I(F, M) / (H(F) + H(M))`.

    It asks how well one intensity predicts the other, whatever the relation, so it does not depend on the contrasts
    (Viola & Wells, IJCV 1997; normalized as by Studholme et al., Pattern Recognition 1999, but from 0 to 1).

    Args:
        image: fixed and moving image, `(2, D, H, W)` in [0, 1].
        field: displacement field, `(3, D, H, W)`, voxels.
        inside: `(D, H, W)` bool, the fixed image's voxels that count.

    Returns:
        0 for images that know nothing of each other, 1 for a one-to-one relation; NaN if nothing counts, or if both
        images are constant.
    """
    moved = warp(image[None, 1:], field[None])[0, 0]
    fixed_bins, moved_bins = ((values[inside] * BINS).long().clamp(0, BINS - 1) for values in (image[0], moved))
    joint = torch.bincount(fixed_bins * BINS + moved_bins, minlength=BINS**2).double().view(BINS, BINS)
    both, fixed, moving = (_entropy(counts) for counts in (joint, joint.sum(dim=1), joint.sum(dim=0)))
    return 2 * (fixed + moving - both) / (fixed + moving) if fixed + moving > 0 else math.nan


def local_correlation(image: Tensor, foregrounds: Tensor) -> float:
    """Mean of the correlation in windows, with its sign: above 0 where what is bright in one image is so in the other.

    Args:
        image: two aligned images, `(2, D, H, W)` in [0, 1].
        foregrounds: `(2, D, H, W)` bool; windows that lie in both count.

    Returns:
        From -1 to 1; NaN if no window lies in both foregrounds and has contrast in both images.
    """
    inside = (foregrounds[0] & foregrounds[1]).numpy()
    _, covariance, variance_fixed, variance_moving = _moments(image[0].numpy(), image[1].numpy(), WINDOW)
    counts = binary_erosion(inside, iterations=WINDOW // 2) & (variance_fixed > FLAT) & (variance_moving > FLAT)
    correlation = covariance[counts] / (variance_fixed[counts] * variance_moving[counts]) ** 0.5
    return float(correlation.mean()) if correlation.size else math.nan


def local_agreement(
    fixed: NDArray[np.float32], moved: NDArray[np.float32], window: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Correlation and difference of two images in the window around each voxel.

    Args:
        fixed: `(X, Y, Z)` in [0, 1].
        moved: the same shape and range.
        window: width of the window in voxels, odd.

    Returns:
        The correlation, in [-1, 1], near 0 where an image has no contrast; and the root mean square difference. Both
        `(X, Y, Z)`.
    """
    offset, covariance, variance_fixed, variance_moved = _moments(fixed, moved, window)
    product = np.maximum(variance_fixed, FLAT) * np.maximum(variance_moved, FLAT)
    square = variance_fixed + variance_moved - 2 * covariance + offset * offset
    return (covariance / np.sqrt(product)).clip(-1, 1), np.sqrt(np.maximum(square, 0))


def without_rim(foreground: Tensor, spacing: float) -> Tensor:
    """A foreground without its outline, `RIM` wide; a foreground that is nothing but outline stays as it is.

    Args:
        foreground: `(D, H, W)` bool.
        spacing: edge of a voxel, mm.
    """
    core = binary_erosion(foreground.numpy(), iterations=max(1, round(RIM / spacing)))
    return torch.from_numpy(core) if core.any() else foreground


def _moments(
    first: NDArray[np.float32], second: NDArray[np.float32], window: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Difference of the means, covariance and variances of two images in the window around each voxel."""
    mean_first, mean_second, covariance, variance_first, variance_second = (
        uniform_filter(values, window, mode="constant")
        for values in (first, second, first * second, first * first, second * second)
    )
    covariance -= mean_first * mean_second
    variance_first -= mean_first * mean_first
    variance_second -= mean_second * mean_second
    return mean_first - mean_second, covariance, variance_first, variance_second


def _entropy(counts: Tensor) -> float:
    shares = counts[counts > 0] / counts.sum()
    return -(shares * shares.log()).sum().item()
