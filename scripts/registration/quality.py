# SPDX-License-Identifier: Apache-2.0
"""Where a registration can be trusted: the probability, at each voxel, that a label's border there is at most 1 mm off.

A logistic regression on what the registration shows of itself: how well the images agree around a voxel, and how far a
point is from itself after the field and one that the network predicts in the other order. Of 1 and 2 mm, 1 mm spreads
the values more.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from scripts.geometry import resample
from scripts.metrics import local_agreement
from scripts.registration.measuring import known_voxels
from scripts.registration.pair import PredictedPair, Registration, advanced
from scripts.registration.prediction import Inferer, backward_field
from scripts.registration.unknown import UNKNOWN
from scripts.runtime import timed
from scripts.spatial import compose, resize, resize_field, warp

QUALITY_LIMIT = 1.0  # mm
WINDOW = 7  # voxels; of 5, 7 and 9 the one whose agreement tells most
# Of `evidence`: the constant, then one for each channel. Fitted by
#   python -c "from scripts.evaluation import calibrate_quality; calibrate_quality('OUT', dataset_dir='OASIS35')"
QUALITY_COEFFICIENTS = (-1.22, 0.70, -0.82, -0.34)


def evidence(pair: PredictedPair, backward: Tensor) -> NDArray[np.float32]:
    """What the quality is estimated from, `(3, X, Y, Z)` on the network's grid.

    LNCC around the voxel; the logarithm of the root mean square difference of the intensities there; and that of the
    distance, mm, of a point from itself after the pair's field and `backward`, see `backward_field`.
    """
    image, field = torch.from_numpy(np.ascontiguousarray(pair.seen)), pair.field[None]
    moved = warp(image[None, 1:], field)[0, 0].numpy()
    correlation, difference = local_agreement(image[0].numpy(), moved, WINDOW)
    size, small = list(image.shape[1:]), list(backward.shape[1:])
    apart = torch.linalg.vector_norm(compose(backward[None], resize_field(field, small)), dim=1, keepdim=True)
    spacing = float(pair.grid.spacing[0]) * size[0] / small[0]
    lengths = spacing * resize(apart, size)[0, 0].numpy()
    # What is added is what noise and rounding amount to, about.
    return np.stack([correlation.clip(0) ** 2, np.log(difference + 0.01), np.log(lengths + 0.5)])


def estimate_quality(
    registration: Registration, network: nn.Module, inferer: Inferer, device: torch.device
) -> Registration:
    """Add the quality, on the fixed image's own grid: 0 outside its foreground, and where an image is unknown.

    Args:
        registration: the registration.
        network: the network that predicted it, on the device; it predicts the other order now.
        inferer: computes it.
        device: the device that computes.
    """
    timings = dict(registration.timings)
    with timed(timings, "backward"):
        backward = backward_field(registration, network, inferer, device)
    with timed(timings, "quality"):
        constant, *slopes = QUALITY_COEFFICIENTS
        channels = evidence(registration, backward)
        found = expit(constant + sum(slope * channel for slope, channel in zip(slopes, channels, strict=True)))
        fixed, grid = registration.fixed, registration.grid
        quality = resample(found, grid.affine, fixed.scan.grid) * fixed.foreground
        if registration.unknown is not None:
            unknown = ~known_voxels(registration, registration.field).numpy()
            quality[resample(unknown.astype(np.float32), grid.affine, fixed.scan.grid) > UNKNOWN] = 0
    return advanced(Registration, registration, quality=quality, timings=timings)
