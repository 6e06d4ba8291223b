# SPDX-License-Identifier: Apache-2.0
"""Interpolation of an image at arbitrary positions."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def sample(image: Tensor, positions: Tensor) -> Tensor:
    """Interpolate linearly at arbitrary positions; positions outside the grid take the value at its border.

    Args:
        image: `(C, D, H, W)`, float32 or float64.
        positions: `(N, 3)`, voxels in the order of the array axes; float64, as float32 is off by 1e-5 at size 256.

    Returns:
        `(C, N)` in the image's dtype.
    """
    size = torch.tensor(image.shape[1:], dtype=positions.dtype, device=positions.device)
    # grid_sample takes positions in [-1, 1], the last array axis first; along an axis of one voxel any is the same.
    normalized = (positions * (2.0 / (size - 1).clamp(min=1))).sub_(1.0)
    grid = normalized.to(image.dtype).flip(1).view(1, 1, 1, -1, 3)
    return grid_sample(image[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0, :, 0, 0]
