# SPDX-License-Identifier: Apache-2.0
"""Sizes of virtual scans, a label map of a head, and generators."""

import numpy as np
import torch
from torch import Tensor

SIZE = (48, 64, 48)
SMALL_SIZE = (32, 36, 32)
WHITE, GRAY, FLUID, CSF, SKIN = 2, 3, 4, 24, 511


def head(shift: float = 0.0) -> Tensor:
    """A head `(1, 48, 64, 48)` of layers, from the inside: fluid, white and gray matter, fluid, skin."""
    axes = [np.arange(n) - (n - 1) / 2 for n in SIZE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x - shift) ** 2 + (y / 1.3) ** 2 + z**2)
    labels = np.select(
        [radius < 4, radius < 10, radius < 15, radius < 17, radius < 21], [FLUID, WHITE, GRAY, CSF, SKIN]
    )
    return torch.from_numpy(labels[None].astype(np.int16))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
