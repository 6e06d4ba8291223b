# SPDX-License-Identifier: Apache-2.0
"""How a network is asked for its field, in training and in inference."""

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn.functional import interpolate, pad

from scripts.losses import LNCCLoss
from scripts.spatial import compose, resize_field, warp

# Mean displacement in the fixed foreground, voxels of the full size. Measured at 1 mm, with models/model.pt: between
# two people the field has 3.9 to 5.3, and however far scans lie apart hardly more than 8. The error of one pass is
# below 2 where the true field has 7, and 3.3 where it has 10 (docs/results.md, Large deformations).
_FAR = 6.0
# What LNCC must rise by. Three pairs of people gained 0.01 to 0.02 from a start at half the size, and lost up to 0.01
# of Dice; known deformations of 10 voxels gained 0.06.
_CLEARLY = 0.03


class PyramidInferer(Inferer):
    """Ask the network for the fields of all scales, which the loss supervises.

    Args:
        bf16: whether the network computes in bfloat16; fields, and so the loss, stay in the images' precision. MONAI's
            `amp` is for GPUs only, and scales the loss, which bfloat16 does not need.
    """

    def __init__(self, bf16: bool = False) -> None:
        self.bf16 = bf16

    def __call__(self, inputs: Tensor, network: Any, *_: Any, **__: Any) -> list[Tensor]:
        """`(B, 2, D, H, W)` -> one field per scale, coarse to fine (see `MSFBNet.pyramid`)."""
        # On CPUs (torch 2.13.0) the bfloat16 gradient of a convolution over 2 voxels along the first axis reads memory
        # that nobody wrote; the coarsest scale is halved once more by its gates.
        safe = inputs.device.type != "cpu" or inputs.shape[2] > 4 * network.multiple
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.bf16 and safe):
            return network.pyramid(inputs)


class PaddedInferer(Inferer):
    """Register images of any size: pad with zeros to the multiple that the network needs, crop its field.

    Args:
        bf16: whether the network computes in bfloat16; fields stay in the images' precision.
    """

    def __init__(self, bf16: bool = False) -> None:
        self.bf16 = bf16

    def __call__(self, inputs: Tensor, network: Any, *_: Any, **__: Any) -> Tensor:
        """`(B, 2, D, H, W)` -> field `(B, 3, D, H, W)`, voxels."""
        depth, height, width = inputs.shape[2:]
        missing = [-size % network.multiple for size in (width, height, depth)]
        padded = pad(inputs, [0, missing[0], 0, missing[1], 0, missing[2]])
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.bf16):
            return network(padded)[:, :, :depth, :height, :width]


class CascadeInferer(PaddedInferer):
    """Register one pair of images, from half their size where they lie farther apart than the network reaches.

    Where the field is large, the network is asked again: at half the size, at which it reaches twice as far, and there
    perhaps from half of that in turn; then for what is left at the full size. The second field is taken if the images
    are clearly more alike. Other pairs have the field of `PaddedInferer`, in the same time.
    """

    def __call__(self, inputs: Tensor, network: Any, *_: Any, **__: Any) -> Tensor:
        """`(1, 2, D, H, W)` -> field `(1, 3, D, H, W)`, voxels."""
        return self._field(inputs, network, _FAR)

    def _field(self, inputs: Tensor, network: Any, far: float) -> Tensor:
        field = super().__call__(inputs, network)
        fixed, moving = inputs[:, :1], inputs[:, 1:]
        size = list(inputs.shape[2:])
        lengths = torch.linalg.vector_norm(field, dim=1)[fixed[:, 0] > 0]
        if not lengths.numel() or lengths.mean() < far or min(size) < 2 * network.multiple:
            return field
        half = interpolate(inputs, size=[-(-n // 2) for n in size], mode="area")
        start = resize_field(self._field(half, network, far / 2), size)
        rest = super().__call__(torch.cat([fixed, warp(moving, start)], dim=1), network)
        farther = compose(start, rest)
        lncc = LNCCLoss()
        gain = lncc(warp(moving, field), fixed) - lncc(warp(moving, farther), fixed)
        return farther if gain > _CLEARLY else field
