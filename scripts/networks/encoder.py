"""The encoder that both images share."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scripts.spatial import is_bare_cpu, is_trained


class InstanceNorm(nn.InstanceNorm3d):
    """Instance normalisation that leaves a single voxel, the coarsest scale of the smallest image, as it is."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel of `(B, C, D, H, W)` over its voxels."""
        if input[0, 0].numel() == 1:
            return input
        # An `if` of its own: TorchScript skips what is in it, unread.
        if not torch.jit.is_scripting():
            if torch.onnx.is_in_onnx_export():
                return self._axis_by_axis(input)
            if is_trained() and input.is_cuda:
                return _Normalized.apply(input, self.weight, self.bias, self.eps)
        if input.is_contiguous(memory_format=torch.channels_last_3d):  # instance_norm would give up that layout
            return torch.cat([self._one_by_one(volumes) for volumes in input.split(1)])
        return nn.functional.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)

    def _one_by_one(self, volumes: Tensor) -> Tensor:
        return nn.functional.batch_norm(volumes, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _axis_by_axis(self, input: Tensor) -> Tensor:
        """The same, for ONNX: its own operator, in ONNX Runtime, sums a million voxels with errors of a thousandth."""
        centred = input - _mean(input)
        normalised = centred * (_mean(centred * centred) + self.eps).rsqrt()
        return normalised * self.weight.view(-1, 1, 1, 1) + self.bias.view(-1, 1, 1, 1)


class _Normalized(torch.autograd.Function):
    """Instance normalization in a GPU's terms: torch's own gives each channel to one of its many processors."""

    @staticmethod
    def forward(ctx: Any, volumes: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        exact = volumes.to(torch.promote_types(volumes.dtype, torch.float32))
        variance, mean = torch.var_mean(exact, dim=(2, 3, 4), keepdim=True, correction=0)
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(volumes, weight, mean, scale)
        slope = scale * weight.view(-1, 1, 1, 1)
        return torch.addcmul(bias.view(-1, 1, 1, 1) - mean * slope, volumes, slope).to(volumes.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        volumes, weight, mean, scale = ctx.saved_tensors
        count = volumes[0, 0].numel()
        normalized = (volumes - mean) * scale
        total = gradient.sum(dim=(2, 3, 4), keepdim=True, dtype=mean.dtype)
        along = (gradient * normalized).sum(dim=(2, 3, 4), keepdim=True)
        slope = scale * weight.view(-1, 1, 1, 1)
        to_volumes = torch.addcmul(-slope * total / count, normalized, -slope * along / count)
        to_volumes = to_volumes.addcmul_(gradient, slope).to(volumes.dtype)
        return to_volumes, along.sum(dim=0).flatten(), total.sum(dim=0).flatten(), None


class LeakyReLU(nn.LeakyReLU):
    """torch's, whose gradient has the layout of the features: mixed layouts take a CPU ten times as long."""

    def forward(self, input: Tensor) -> Tensor:
        """Rectify, in place."""
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript skips what is in it, unread)
            if is_trained():
                return _Rectified.apply(input, self.negative_slope)
        return nn.functional.leaky_relu(input, self.negative_slope, self.inplace)


class _Rectified(torch.autograd.Function):
    """Leaky ReLU in place; where its result has channels last, so has the gradient that it takes and gives."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, slope: float) -> Tensor:
        ctx.slope = slope
        ctx.mark_dirty(features)
        nn.functional.leaky_relu_(features, slope)
        ctx.save_for_backward(features)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors
        if features.is_contiguous(memory_format=torch.channels_last_3d):
            gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        return torch.ops.aten.leaky_relu_backward(gradient, features, ctx.slope, True), None


def _mean(volumes: Tensor) -> Tensor:
    """Mean of each `(D, H, W)`, axis by axis, which is more exact than all voxels in one sum."""
    return volumes.mean(dim=4, keepdim=True).mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)


def convolution(in_channels: int, out_channels: int, stride: int = 1, norm: bool = True) -> nn.Module:
    """3×3×3 convolution, instance normalisation and leaky ReLU, the brick of the whole network."""
    layers: list[nn.Module] = [Convolution(3, in_channels, out_channels, strides=stride, conv_only=True)]
    if norm:
        layers.append(InstanceNorm(out_channels, affine=True))
    return nn.Sequential(*layers, LeakyReLU(0.2, inplace=True))


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
