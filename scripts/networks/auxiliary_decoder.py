"""The auxiliary decoder that both images share."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import UpSample
from torch import Tensor, nn

from scripts.networks.encoder import convolution


class AuxiliaryDecoder(nn.Module):
    """High-level features of one image at every scale, from its own low-level ones, coarse to fine.

    Args:
        channels: feature channels per scale, finest first; the same in the low-level features that come in.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        coarse_to_fine = channels[::-1]
        self.bottleneck = convolution(coarse_to_fine[0], coarse_to_fine[0])
        self.upsamples = nn.ModuleList()
        self.stages = nn.ModuleList()
        for coarser, finer in pairwise(coarse_to_fine):
            # The default pre-convolution reduces the channels before the volume grows.
            self.upsamples.append(UpSample(3, coarser, finer, mode="nontrainable", align_corners=False))
            self.stages.append(convolution(2 * finer, finer))

    def forward(self, low: list[Tensor]) -> list[Tensor]:
        """Decode low-level features (finest first) to high-level features of the same shapes, finest first."""
        high = self.bottleneck(low[-1])
        features = [high]
        for i, (upsample, stage) in enumerate(zip(self.upsamples, self.stages)):  # noqa: B905 (TorchScript)
            high = stage(torch.cat([upsample(high), low[len(low) - 2 - i]], dim=1))
            features.append(high)
        return features[::-1]
