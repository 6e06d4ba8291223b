# SPDX-License-Identifier: Apache-2.0
"""The auxiliary decoder that both images share."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from scripts.networks.encoder import convolution
from scripts.spatial import resize


class _Upsample(nn.Module):
    """Double the size; channels are reduced first. Equals MONAI's non-trainable `UpSample`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        reduces = in_channels != out_channels
        self.preconv = nn.Conv3d(in_channels, out_channels, kernel_size=1) if reduces else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        return resize(self.preconv(features), [2 * features.shape[2], 2 * features.shape[3], 2 * features.shape[4]])


class AuxiliaryDecoder(nn.Module):
    """High-level features of one image at every scale, decoded coarse to fine from its low-level features.

    Args:
        channels: number of channels of the low-level and of the high-level features per scale, finest first.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        coarse_to_fine = channels[::-1]
        self.bottleneck = convolution(coarse_to_fine[0], coarse_to_fine[0])
        self.upsamples = nn.ModuleList()
        self.stages = nn.ModuleList()
        for coarser, finer in pairwise(coarse_to_fine):
            self.upsamples.append(_Upsample(coarser, finer))
            self.stages.append(convolution(2 * finer, finer))

    def forward(self, low: list[Tensor]) -> list[Tensor]:
        """Decode low-level features to high-level features of the same shapes.

        Args:
            low: `(B, channels[l], D/2^l, H/2^l, W/2^l)` per scale `l`, finest first.

        Returns:
            High-level features of the same shapes, finest first.
        """
        high = self.bottleneck(low[-1])
        features = [high]
        for i, (upsample, stage) in enumerate(zip(self.upsamples, self.stages)):  # noqa: B905 (TorchScript)
            high = stage(torch.cat([upsample(high), low[len(low) - 2 - i]], dim=1))
            features.append(high)
        return features[::-1]
