"""The multi-scale feature fusion block."""

from typing import Any

import torch
from monai.networks.blocks import ChannelSELayer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scripts.networks.correlation import local_correlation, swapped_correlation
from scripts.networks.encoder import convolution
from scripts.spatial import is_trained, resize

MATCHED = 8  # channels that are correlated: the time it takes grows with them


class GlobalAttention(ChannelSELayer):
    """Channel gates from the whole volume: what matters over all (squeeze-and-excitation, Hu et al., CVPR 2018).

    MONAI's layer but for the mean, which torch would take of a copy in single precision.

    Args:
        channels: of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(3, channels, r=min(channels, 4))

    def forward(self, features: Tensor) -> Tensor:
        """Gate `(B, C, D, H, W)`; the shape stays."""
        voxels = features.shape[2] * features.shape[3] * features.shape[4]
        gates = self.fc(features.sum(dim=(2, 3, 4)) / voxels)
        return features * gates[:, :, None, None, None]


class LocalAttention(nn.Module):
    """Voxel gates from a wide neighbourhood: what matters here.

    The twin of squeeze-and-excitation in space: squeeze the channels, look around on a grid of half the size (7 voxels
    wide), excite one gate per channel and voxel. A depthwise convolution of that width would see as much, but its
    gradient is slow on CPUs.

    Args:
        channels: of the features.
        reduction: how many times fewer channels look around.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        squeezed = max(channels // reduction, 1)
        self.look_around = nn.Sequential(
            nn.Conv3d(channels, squeezed, kernel_size=1),
            convolution(squeezed, squeezed, stride=2, norm=False),
            convolution(squeezed, squeezed, norm=False),
        )
        self.excite = nn.Sequential(nn.Conv3d(squeezed, channels, kernel_size=1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        """Gate `(B, C, D, H, W)`; the shape stays."""
        seen = self.look_around(features)
        seen = resize(seen, list(features.shape[2:]))
        return features * self.excite(seen)


class MSFB(nn.Module):
    """Fuse the features of both images at one scale, with the field so far, into features that predict its update.

    Args:
        channels: of each feature map of each image at this scale, and of the fused features.
        has_high: whether high-level features come in beside the low-level ones.
        fusion: `attention` (concatenate, then gate), `concat` (concatenate only) or `add` (add the high-level features
            of each image to its low-level ones).
        attention: the gates of `fusion="attention"`: `both`, `global` (per channel, from the whole volume), `local`
            (per voxel, from a neighbourhood) or `none`, which is `fusion="concat"`.
        comparison: what is added to the fused features: `none`; the `difference` of both images' features; the
            `correlation` of a few learnt projections of them with the neighbourhood (`local_correlation`).

    Raises:
        ValueError: for an unknown `fusion`, `attention` or `comparison`.
    """

    def __init__(
        self,
        channels: int,
        has_high: bool,
        fusion: str = "attention",
        attention: str = "both",
        comparison: str = "none",
    ) -> None:
        super().__init__()
        if fusion not in ("attention", "concat", "add"):
            raise ValueError(f"fusion is attention, concat or add, not {fusion}")
        if attention not in ("both", "global", "local", "none"):
            raise ValueError(f"attention is both, global, local or none, not {attention}")
        if comparison not in ("none", "difference", "correlation"):
            raise ValueError(f"comparison is none, difference or correlation, not {comparison}")
        gated = fusion == "attention"
        stacked = 4 * channels if has_high and fusion != "add" else 2 * channels

        self.channels = channels
        self.add_high = has_high and fusion == "add"
        self.global_attention = GlobalAttention(stacked) if gated and attention in ("both", "global") else nn.Identity()
        self.local_attention = LocalAttention(stacked) if gated and attention in ("both", "local") else nn.Identity()
        self.comparison = comparison
        self.match = nn.Conv3d(stacked // 2, MATCHED, kernel_size=1) if comparison == "correlation" else nn.Identity()
        compared = {"none": 0, "difference": stacked // 2, "correlation": 27}[comparison]
        self.fuse = nn.Sequential(convolution(stacked + compared + 3, channels), convolution(channels, channels))

    def forward(self, fixed: Tensor, moving: Tensor, field: Tensor) -> Tensor:
        """Fuse one scale.

        Args:
            fixed: low-level features of the fixed image, high-level ones stacked on them where there are any:
                `(B, channels or 2 * channels, D, H, W)`.
            moving: the same of the moving image, warped by the field so far.
            field: the field so far, `(B, 3, D, H, W)`, voxels of this scale.

        Returns:
            `(B, channels, D, H, W)`
        """
        fixed, moving = self._joined(fixed), self._joined(moving)
        return self._fused(fixed, moving, field, self._compared(fixed, moving))

    def both_ways(self, fixed: Tensor, moving: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` says of the pair, and of the swapped pair with the negative field; compares them only once."""
        fixed, moving = self._joined(fixed), self._joined(moving)
        compared = self._compared(fixed, moving)
        swapped = swapped_correlation(compared) if self.comparison == "correlation" else compared
        if torch.is_grad_enabled():
            # In one batch: half as many operations. All features are kept for the gradient anyway.
            pair = torch.cat([fixed, moving]), torch.cat([moving, fixed])
            both = self._fused(pair[0], pair[1], torch.cat([field, -field]), torch.cat([compared, swapped]))
            there, back = both.chunk(2)
            return there, back
        # One order after the other: together they would take twice the memory.
        there = self._fused(fixed, moving, field, compared)
        return there, self._fused(moving, fixed, -field, swapped)

    def _joined(self, features: Tensor) -> Tensor:
        return features[:, : self.channels] + features[:, self.channels :] if self.add_high else features

    def _compared(self, fixed: Tensor, moving: Tensor) -> Tensor:
        if self.comparison == "difference":
            return (fixed - moving).abs()
        if self.comparison == "correlation":
            return local_correlation(self.match(fixed), self.match(moving))
        return fixed[:, :0]

    def _fused(self, fixed: Tensor, moving: Tensor, field: Tensor, compared: Tensor) -> Tensor:
        stacked = self.local_attention(self.global_attention(torch.cat([fixed, moving], dim=1)))
        parts = [stacked, field.to(stacked.dtype), compared]
        if stacked.is_contiguous(memory_format=torch.channels_last_3d):  # cat would give up that layout
            parts = [part.contiguous(memory_format=torch.channels_last_3d) for part in parts]
            if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript skips what is in it, unread)
                if is_trained():
                    return self.fuse(_Joined.apply(*parts))
        return self.fuse(torch.cat(parts, dim=1))


class _Joined(torch.autograd.Function):
    """Join channels that lie last in memory; so do those of the gradients, which torch would cut out as views."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.channels = [part.shape[1] for part in parts]
        return torch.cat(parts, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        parts = gradient.split(ctx.channels, dim=1)
        return tuple(part.contiguous(memory_format=torch.channels_last_3d) for part in parts)
