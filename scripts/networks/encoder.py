# SPDX-License-Identifier: Apache-2.0
"""The encoder that both images share."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from scripts.networks.normalization import LeakyReLU, RectifiedNorm
from scripts.spatial import is_cpu_inference, records_gradient


def convolution(in_channels: int, out_channels: int, stride: int = 1, norm: bool = True) -> nn.Module:
    """3×3×3 convolution, instance normalization and leaky ReLU, the building block of the network.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        stride: stride of the convolution along every axis, from 1.
        norm: whether the output of the convolution is normalized.
    """
    layer = Convolution(3, in_channels, out_channels, strides=stride, conv_only=True)
    return nn.Sequential(layer, RectifiedNorm(out_channels, 0.2) if norm else LeakyReLU(0.2, inplace=True))


class Encoder(nn.Module):
    """Low-level features of one image at every scale, each scale half the size of the one before.

    Args:
        channels: number of channels per scale, finest first.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        # At full size, where feature maps take most time and memory, one convolution without normalization. Two at
        # every other scale.
        self.stages = nn.ModuleList([convolution(1, channels[0], norm=False)])
        for finer, coarser in pairwise(channels):
            self.stages.append(nn.Sequential(convolution(finer, coarser, stride=2), convolution(coarser, coarser)))

    def forward(self, image: Tensor, last: int | None = None) -> list[Tensor]:
        """Encode one image.

        Args:
            image: `(B, 1, D, H, W)`.
            last: coarsest scale to compute, from 0; None computes all.

        Returns:
            `(B, channels[l], D/2^l, H/2^l, W/2^l)` per scale `l`, finest first.
        """
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
            # Channels-last memory, which is faster in half precision; features inherit it from the image.
            if (is_cpu_inference(image) or records_gradient()) and torch.is_autocast_enabled("cpu"):
                image = image[:, 0, :, :, :, None].movedim(-1, 1)
        features: list[Tensor] = []
        for scale, stage in enumerate(self.stages):
            if last is None or scale <= last:
                image = stage(image)
                features.append(image)
        return features
