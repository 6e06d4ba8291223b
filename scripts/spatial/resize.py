# SPDX-License-Identifier: Apache-2.0
"""Linear resampling of volumes to another grid over the same extent."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import interpolate

from scripts.kernels import call
from scripts.spatial.dispatch import uses_kernels


def resize(volume: Tensor, size: list[int]) -> Tensor:
    """torch's trilinear `interpolate`, where both grids fill the same box (voxel centers at `(i + 0.5) / n`).

    Args:
        volume: `(B, C, D, H, W)`, any float dtype.
        size: new size, `[D', H', W']`.

    Returns:
        `(B, C, D', H', W')`
    """
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
        if uses_kernels(volume) and volume.dtype != torch.float16:
            return _CompiledResize.apply(volume, size)
    return interpolate(volume, size=size, mode="trilinear", align_corners=False)


class _CompiledResize(torch.autograd.Function):
    """`resize` on the CPU by compiled code, in either memory layout."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor, size: list[int]) -> Tensor:
        ctx.layout, ctx.shape = _layout(volume), volume.shape
        resized = torch.empty([*volume.shape[:2], *size], dtype=volume.dtype, memory_format=ctx.layout)
        call("resize", volume.contiguous(memory_format=ctx.layout), resized, *_sizes(ctx), *size)
        return resized

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        volume_gradient = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=ctx.layout)
        gradient = gradient.contiguous(memory_format=ctx.layout)
        call("resize_backward", gradient, volume_gradient, *_sizes(ctx), *gradient.shape[2:])
        return volume_gradient, None


def _layout(volume: Tensor) -> torch.memory_format:
    last = volume.is_contiguous(memory_format=torch.channels_last_3d) and not volume.is_contiguous()
    return torch.channels_last_3d if last else torch.contiguous_format


def _sizes(ctx: Any) -> tuple[int, ...]:
    """Number of volumes, depth, height, width, and numbers per voxel, as the compiled code takes them."""
    batch, channels, *voxels = ctx.shape
    return (batch, *voxels, channels) if ctx.layout is torch.channels_last_3d else (batch * channels, *voxels, 1)
