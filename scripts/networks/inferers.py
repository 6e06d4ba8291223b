# SPDX-License-Identifier: Apache-2.0
"""How a network is asked for its field, in training and in inference."""

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn.functional import pad


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
