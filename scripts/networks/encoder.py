"""The encoder that both images share."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from scripts.networks.normalization import LeakyReLU, RectifiedNorm
from scripts.spatial import is_bare_cpu, is_trained


def convolution(in_channels: int, out_channels: int, stride: int = 1, norm: bool = True) -> nn.Module:
    """3×3×3 convolution, instance normalisation and leaky ReLU, the brick of the whole network."""
    layer = Convolution(3, in_channels, out_channels, strides=stride, conv_only=True)
    return nn.Sequential(layer, RectifiedNorm(out_channels, 0.2) if norm else LeakyReLU(0.2, inplace=True))


class Encoder(nn.Module):
    """Low-level features of one image at every scale, each scale half the size of the one before.

    Args:
        channels: feature channels per scale, finest first.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        # At full size, where feature maps are what costs time and memory: one convolution, not normalised. Two at
        # every other scale.
        self.stages = nn.ModuleList([convolution(1, channels[0], norm=False)])
        for finer, coarser in pairwise(channels):
            self.stages.append(nn.Sequential(convolution(finer, coarser, stride=2), convolution(coarser, coarser)))

    def forward(self, image: Tensor, last: int | None = None) -> list[Tensor]:
        """Encode `(B, 1, D, H, W)` to one `(B, channels[l], D/2^l, H/2^l, W/2^l)` per scale `l`, finest first.

        Args:
            image: to be encoded.
            last: the coarsest scale that is wanted; all where None.
        """
        if not torch.jit.is_scripting():  # noqa: SIM102
            # Channels last in memory, which is faster in half precision, from the only channel that there is so far.
            if (is_bare_cpu(image) or is_trained()) and torch.is_autocast_enabled("cpu"):
                image = image[:, 0, :, :, :, None].movedim(-1, 1)
        features: list[Tensor] = []
        for scale, stage in enumerate(self.stages):
            if last is None or scale <= last:
                image = stage(image)
                features.append(image)
        return features
