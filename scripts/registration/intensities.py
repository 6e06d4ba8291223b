# SPDX-License-Identifier: Apache-2.0
"""Two images of different contrasts brought into one, because the network registers images of one contrast.

Each intensity of an image becomes the mean of what the other image has in the same places (Guimond et al., IEEE TMI
2001), then the intensities get the mean and the deviation that the other image has. Places that do not correspond, as
after an affine alignment, blur the means, but hardly change the order of the tissues.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

_LEVELS = 128  # intensities that are told apart
_SMOOTHING = 2.0  # standard deviation of the Gaussian that smooths the means, levels
_LEAST_DEVIATION = 0.01  # of the means; images without anything in common have less
_DARK = 0.01  # least intensity: 0 is the background
_LEAST_VOXELS = 1000  # with fewer in common, the means are chance


def in_either_contrast(
    image: NDArray[np.float32], shown: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two images in the contrast of the first one, and in that of the second one.

    Args:
        image: fixed and moving image, about aligned, `(2, X, Y, Z)` in [0, 1].
        shown: where each of them shows something that is known, `(2, X, Y, Z)`.

    Returns:
        Both `(2, X, Y, Z)` in [0, 1], 0 where an image is 0.
    """
    fixed, moving = image
    both = shown[0] & shown[1]
    return (
        np.stack([fixed, _in_contrast_of(fixed[both], moving[both], moving)]),
        np.stack([_in_contrast_of(moving[both], fixed[both], fixed), moving]),
    )


def _in_contrast_of(
    wanted: NDArray[np.float32], own: NDArray[np.float32], image: NDArray[np.float32]
) -> NDArray[np.float32]:
    """An image in another contrast, learned from the intensities `(N,)` of both in corresponding places."""
    if len(own) < _LEAST_VOXELS:
        return image
    # Each voxel counts for the two levels around its intensity, so that rounding errors change next to nothing.
    position = np.clip(own, 0, 1) * (_LEVELS - 1)
    below = np.minimum(position.astype(int), _LEVELS - 2)
    above_share = position - below
    count, total = (
        gaussian_filter1d(
            np.bincount(below, (1 - above_share) * weights, _LEVELS)
            + np.bincount(below + 1, above_share * weights, _LEVELS),
            _SMOOTHING,
        )
        for weights in (np.ones_like(wanted), wanted)
    )
    common = count > 1e-6 * count.sum()
    curve = np.flatnonzero(common) / (_LEVELS - 1), total[common] / count[common]
    learned = np.interp(own, *curve)
    gain = wanted.std() / max(learned.std(), _LEAST_DEVIATION)
    foreground = image > 0
    result = np.zeros_like(image)
    result[foreground] = np.clip(
        wanted.mean() + gain * (np.interp(image[foreground], *curve) - learned.mean()), _DARK, 1
    )
    return result
