# SPDX-License-Identifier: Apache-2.0
"""Instance normalization and leaky ReLU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scripts.kernels import call
from scripts.spatial import records_gradient, uses_kernels


class LeakyReLU(nn.LeakyReLU):
    """torch's, with gradients in the layout of the features: mixed layouts take ten times as long on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Rectify, in place."""
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
            if records_gradient():
                return _LeakyReLU.apply(input, self.negative_slope)
        return nn.functional.leaky_relu(input, self.negative_slope, self.inplace)


class RectifiedNorm(nn.InstanceNorm3d):
    """Instance normalization, then leaky ReLU.

    Args:
        channels: number of channels of the features.
        slope: slope of the leaky ReLU below 0.
    """

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__(channels, affine=True)
        self.rectify = LeakyReLU(slope, inplace=True)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize each channel of `(B, C, D, H, W)` over its voxels, and rectify."""
        if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
            if _fits_kernels(input) and uses_kernels(input):
                return _CompiledNorm.apply(input, self.weight, self.bias, self.eps, self.rectify.negative_slope)
        return self.rectify(self.normalized(input))

    def normalized(self, input: Tensor) -> Tensor:
        """Normalize only; a single voxel, the coarsest scale of the smallest image, is returned unchanged."""
        if input[0, 0].numel() == 1:
            return input
        # Not joined with another condition: TorchScript does not compile this branch.
        if not torch.jit.is_scripting():
            if torch.onnx.is_in_onnx_export():
                return self._axis_by_axis(input)
            if records_gradient() and input.is_cuda:
                return InstanceNormGPU.apply(input, self.weight, self.bias, self.eps)
        if input.is_contiguous(memory_format=torch.channels_last_3d):  # instance_norm would lose it
            return torch.cat([self._one_by_one(volumes) for volumes in input.split(1)])
        return nn.functional.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)

    def _one_by_one(self, volumes: Tensor) -> Tensor:
        return nn.functional.batch_norm(volumes, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _axis_by_axis(self, input: Tensor) -> Tensor:
        """The same for ONNX, whose own operator sums a million voxels with errors of a thousandth in ONNX Runtime."""
        centered = input - _mean(input)
        normalized = centered * (_mean(centered * centered) + self.eps).rsqrt()
        return normalized * self.weight.view(-1, 1, 1, 1) + self.bias.view(-1, 1, 1, 1)


def _mean(volumes: Tensor) -> Tensor:
    """Mean of each `(D, H, W)`, axis by axis, which has smaller rounding errors than one sum over all voxels."""
    return volumes.mean(dim=4, keepdim=True).mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)


class _LeakyReLU(torch.autograd.Function):
    """Leaky ReLU in place; for a channels-last result, both gradients are channels-last."""

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


class InstanceNormGPU(torch.autograd.Function):
    """Instance normalization with parallel sums: torch's own computes each channel on only one multiprocessor."""

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
        product = (gradient * normalized).sum(dim=(2, 3, 4), keepdim=True)
        slope = scale * weight.view(-1, 1, 1, 1)
        volumes_gradient = torch.addcmul(-slope * total / count, normalized, -slope * product / count)
        volumes_gradient = volumes_gradient.addcmul_(gradient, slope).to(volumes.dtype)
        return volumes_gradient, product.sum(dim=0).flatten(), total.sum(dim=0).flatten(), None


class _CompiledNorm(torch.autograd.Function):
    """`RectifiedNorm` of channels-last features on the CPU by compiled code."""

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
        gradients = torch.empty_like(features), torch.empty_like(mean), torch.empty_like(mean)
        for i, (volume, volume_gradient) in enumerate(zip(features, gradient, strict=True)):
            inputs = (volume, volume_gradient, weight, bias, mean[i], scale[i])
            outputs = (item_gradients[i] for item_gradients in gradients)
            call("normalize_backward", *inputs, *outputs, volume[0].numel(), len(volume), ctx.slope)
        return gradients[0], gradients[1].sum(dim=0), gradients[2].sum(dim=0), None, None


def _fits_kernels(features: Tensor) -> bool:
    many = features[0, 0].numel() > 1
    return many and features.dtype != torch.float16 and features.is_contiguous(memory_format=torch.channels_last_3d)
