# SPDX-License-Identifier: Apache-2.0
"""Two images of different contrasts brought into one, because the network registers images of one contrast.

Each intensity of an image becomes the mean of what the other image has in the same places (Guimond et al., IEEE TMI
2001), then the intensities get the distribution that the other image has. Places that do not correspond, as after an
affine alignment, blur the means, but hardly change the order of the tissues.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

_LEVELS = 128  # intensities that are told apart
_SMOOTHING = 2.0  # standard deviation of the Gaussian that smooths the means, levels
_QUANTILES = 101
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
    level = np.minimum((own * _LEVELS).astype(int), _LEVELS - 1)
    count = gaussian_filter1d(np.bincount(level, minlength=_LEVELS).astype(float), _SMOOTHING)
    total = gaussian_filter1d(np.bincount(level, weights=wanted, minlength=_LEVELS), _SMOOTHING)
    common = count > 1e-6 * count.sum()
    foreground = image > 0
    means = np.interp(image[foreground], (np.flatnonzero(common) + 0.5) / _LEVELS, total[common] / count[common])
    shares = np.linspace(0, 1, _QUANTILES)
    found, matched = np.quantile(means, shares), np.quantile(wanted, shares)
    last = np.append(np.diff(found) > 0, True)  # of quantiles that are the same
    result = np.zeros_like(image)
    result[foreground] = np.interp(means, found[last], matched[last])
    return result
