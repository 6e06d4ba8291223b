"""The encoder that both images share."""

from collections.abc import Sequence
from itertools import pairwise

from monai.networks.blocks import Convolution
from torch import Tensor, nn


def convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """3×3×3 convolution and leaky ReLU, the brick of the whole network."""
    activation = ("leakyrelu", {"negative_slope": 0.2, "inplace": True})
    return Convolution(3, in_channels, out_channels, strides=stride, norm=None, act=activation)


class Encoder(nn.Module):
    """Low-level features of one image at every scale, each scale half the size of the one before.

    Args:
        channels: feature channels per scale, finest first.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        # One convolution at full size, where feature maps are what costs time and memory; two at every other scale.
        self.stages = nn.ModuleList([convolution(1, channels[0])])
        for finer, coarser in pairwise(channels):
            self.stages.append(nn.Sequential(convolution(finer, coarser, stride=2), convolution(coarser, coarser)))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode `(B, 1, D, H, W)` to one `(B, channels[l], D/2^l, H/2^l, W/2^l)` per scale `l`, finest first."""
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features
