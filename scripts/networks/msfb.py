# SPDX-License-Identifier: Apache-2.0
"""The multi-scale feature fusion block."""

from typing import Any

import torch
from monai.networks.blocks import ChannelSELayer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scripts.networks.correlation import local_correlation, swapped_correlation
from scripts.networks.encoder import convolution
from scripts.spatial import records_gradient, resize

_CORRELATED = 8  # number of correlated channels; the cost of the correlation is proportional to it


class GlobalAttention(ChannelSELayer):
    """Channel gates from the whole volume (squeeze-and-excitation, Hu et al., CVPR 2018).

    MONAI's layer, except that the mean is computed without a copy of the features in single precision.

    Args:
        channels: number of channels of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(3, channels, r=min(channels, 4))

    def forward(self, features: Tensor) -> Tensor:
        """Gate `(B, C, D, H, W)`; the result has the same shape."""
        voxels = features.shape[2] * features.shape[3] * features.shape[4]
        gates = self.fc(features.sum(dim=(2, 3, 4)) / voxels)
        return features * gates[:, :, None, None, None]


class LocalAttention(nn.Module):
    """Voxel gates from the neighborhood of each voxel, the spatial counterpart of squeeze-and-excitation.

    The channels are reduced by a factor of eight, convolved on a grid of half the size (a receptive field of 7 voxels),
    and expanded to one gate per channel and voxel. A depthwise convolution of width 7 would have the same receptive
    field, but its gradient is slow on CPUs.

    Args:
        channels: number of channels of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = max(channels // 8, 1)
        self.look_around = nn.Sequential(
            nn.Conv3d(channels, reduced, kernel_size=1),
            convolution(reduced, reduced, stride=2, norm=False),
            convolution(reduced, reduced, norm=False),
        )
        self.excite = nn.Sequential(nn.Conv3d(reduced, channels, kernel_size=1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        """Gate `(B, C, D, H, W)`; the result has the same shape."""
        context = resize(self.look_around(features), list(features.shape[2:]))
        return features * self.excite(context)


class MSFB(nn.Module):
    """Fuse the features of both images and the current field at one scale into features that predict its update.

    Args:
        channels: number of channels of each feature map of each image, and of the fused features.
        has_high: whether each image has high-level features besides the low-level ones.
        fusion: `attention` (concatenate, then gate), `concat` (concatenate) or `add` (add the high-level features of
            each image to its low-level ones).
        attention: gates of `fusion="attention"`: `both`, `global` (per channel, from the whole volume) or `local` (per
            voxel, from its neighborhood).
        comparison: additional input that compares the images: `none`, `difference` (absolute difference of the
            features) or `correlation` (`local_correlation` of learned projections of the features).

    Raises:
        ValueError: for an unknown `fusion`, `attention` or `comparison`.
    """

    def __init__(self, channels: int, has_high: bool, fusion: str, attention: str, comparison: str) -> None:
        super().__init__()
        if fusion not in ("attention", "concat", "add"):
            raise ValueError(f"fusion is attention, concat or add, not {fusion}")
        if attention not in ("both", "global", "local"):
            raise ValueError(f"attention is both, global or local, not {attention}")
        if comparison not in ("none", "difference", "correlation"):
            raise ValueError(f"comparison is none, difference or correlation, not {comparison}")
        gated = fusion == "attention"
        stacked = 4 * channels if has_high and fusion != "add" else 2 * channels

        self.channels = channels
        self.add_high = has_high and fusion == "add"
        self.global_attention = GlobalAttention(stacked) if gated and attention != "local" else nn.Identity()
        self.local_attention = LocalAttention(stacked) if gated and attention != "global" else nn.Identity()
        self.comparison = comparison
        correlates = comparison == "correlation"
        self.match = nn.Conv3d(stacked // 2, _CORRELATED, kernel_size=1) if correlates else nn.Identity()
        compared = {"none": 0, "difference": stacked // 2, "correlation": 27}[comparison]
        self.fuse = nn.Sequential(convolution(stacked + compared + 3, channels), convolution(channels, channels))

    def forward(self, fixed: Tensor, moving: Tensor, field: Tensor) -> Tensor:
        """Fuse one scale.

        Args:
            fixed: features of the fixed image, low-level ones and then high-level ones if there are any:
                `(B, channels or 2 * channels, D, H, W)`.
            moving: features of the moving image, warped by the current field; the same shape.
            field: current field, `(B, 3, D, H, W)`, voxels of this scale.

        Returns:
            `(B, channels, D, H, W)`
        """
        fixed, moving = self._add_levels(fixed), self._add_levels(moving)
        return self._fuse(fixed, moving, field, self._compare(fixed, moving))

    def both_orders(self, fixed: Tensor, moving: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse the pair, and the swapped pair with the opposite field, which are compared only once.

        Args:
            fixed: as in `forward`.
            moving: as in `forward`.
            field: as in `forward`.

        Returns:
            `forward(fixed, moving, field)` and `forward(moving, fixed, -field)`.
        """
        fixed, moving = self._add_levels(fixed), self._add_levels(moving)
        compared = self._compare(fixed, moving)
        swapped = swapped_correlation(compared) if self.comparison == "correlation" else compared
        if torch.is_grad_enabled():
            # One batch takes half as many operations. The gradient needs the features of both orders anyway.
            pair = torch.cat([fixed, moving]), torch.cat([moving, fixed])
            both = self._fuse(pair[0], pair[1], torch.cat([field, -field]), torch.cat([compared, swapped]))
            forward, backward = both.chunk(2)
            return forward, backward
        # One after the other: one batch would take twice the memory.
        forward = self._fuse(fixed, moving, field, compared)
        return forward, self._fuse(moving, fixed, -field, swapped)

    def _add_levels(self, features: Tensor) -> Tensor:
        return features[:, : self.channels] + features[:, self.channels :] if self.add_high else features

    def _compare(self, fixed: Tensor, moving: Tensor) -> Tensor:
        if self.comparison == "difference":
            return (fixed - moving).abs()
        if self.comparison == "correlation":
            return local_correlation(self.match(fixed), self.match(moving))
        return fixed[:, :0]

    def _fuse(self, fixed: Tensor, moving: Tensor, field: Tensor, compared: Tensor) -> Tensor:
        stacked = self.local_attention(self.global_attention(torch.cat([fixed, moving], dim=1)))
        parts = [stacked, field.to(stacked.dtype), compared]
        if stacked.is_contiguous(memory_format=torch.channels_last_3d):  # cat of mixed layouts would lose it
            parts = [part.contiguous(memory_format=torch.channels_last_3d) for part in parts]
            if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
                if records_gradient():
                    return self.fuse(_ConcatChannelsLast.apply(*parts))
        return self.fuse(torch.cat(parts, dim=1))


class _ConcatChannelsLast(torch.autograd.Function):
    """Concatenate channels-last features; the gradients are channels-last, too, where torch's would be views."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.channels = [part.shape[1] for part in parts]
        return torch.cat(parts, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        parts = gradient.split(ctx.channels, dim=1)
        return tuple(part.contiguous(memory_format=torch.channels_last_3d) for part in parts)
