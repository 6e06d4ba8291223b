"""Instance normalization and leaky ReLU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scripts.kernels import call
from scripts.spatial import is_compiled, is_trained


class LeakyReLU(nn.LeakyReLU):
    """torch's, whose gradient has the layout of the features: mixed layouts take a CPU ten times as long."""

    def forward(self, input: Tensor) -> Tensor:
        """Rectify, in place."""
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript skips what is in it, unread)
            if is_trained():
                return _Rectified.apply(input, self.negative_slope)
        return nn.functional.leaky_relu(input, self.negative_slope, self.inplace)


class RectifiedNorm(nn.InstanceNorm3d):
    """Instance normalization, then leaky ReLU.

    Args:
        channels: of the features.
        slope: of the leaky ReLU below 0.
    """

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__(channels, affine=True)
        self.rectify = LeakyReLU(slope, inplace=True)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel of `(B, C, D, H, W)` over its voxels, and rectify."""
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript skips what is in it, unread)
            if _has_compiled_way(input) and is_compiled(input):
                return _CompiledNorm.apply(input, self.weight, self.bias, self.eps, self.rectify.negative_slope)
        return self.rectify(self.normalized(input))

    def normalized(self, input: Tensor) -> Tensor:
        """Normalise only; a single voxel, the coarsest scale of the smallest image, stays as it is."""
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


def _mean(volumes: Tensor) -> Tensor:
    """Mean of each `(D, H, W)`, axis by axis, which is more exact than all voxels in one sum."""
    return volumes.mean(dim=4, keepdim=True).mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)


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


class _CompiledNorm(torch.autograd.Function):
    """`RectifiedNorm` on the CPU, of features whose channels lie last in memory, by compiled code."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
        exact = torch.promote_types(features.dtype, torch.float32)
        weight, bias = weight.to(exact), bias.to(exact)
        normalized = torch.empty_like(features)
        mean, scale = weight.new_empty([2, *features.shape[:2]])
        for volume, result, *statistics in zip(features, normalized, mean, scale, strict=True):
            call("normalize", volume, weight, bias, result, *statistics, volume[0].numel(), len(volume), eps, slope)
        ctx.save_for_backward(features, weight, bias, mean, scale)
        ctx.slope = slope
        return normalized

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        features, weight, bias, mean, scale = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        to_features, to_weight, to_bias = (torch.empty_like(like) for like in (features, mean, mean))
        for i, (volume, slopes) in enumerate(zip(features, gradient, strict=True)):
            inputs = (volume, slopes, weight, bias, mean[i], scale[i])
            sizes = volume[0].numel(), len(volume)
            call("normalize_backward", *inputs, to_features[i], to_weight[i], to_bias[i], *sizes, ctx.slope)
        return to_features, to_weight.sum(dim=0), to_bias.sum(dim=0), None, None


def _has_compiled_way(features: Tensor) -> bool:
    many = features[0, 0].numel() > 1
    return many and features.dtype != torch.float16 and features.is_contiguous(memory_format=torch.channels_last_3d)
