# SPDX-License-Identifier: Apache-2.0
"""Local correlation of the features of two images."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from scripts.kernels import call
from scripts.spatial import SelfAdjoint, records_gradient, uses_kernels


def local_correlation(fixed: Tensor, moving: Tensor) -> Tensor:
    """Correlate the features of each fixed voxel with the moving ones in its 3×3×3 neighborhood.

    Args:
        fixed: `(B, C, D, H, W)`.
        moving: the same shape; 0 beyond the border.

    Returns:
        `(B, 27, D, H, W)`: means over channels of the products, one channel per offset of -1, 0, 1 along each axis.
    """
    fixed, moving = fixed.contiguous() / fixed.shape[1], moving.contiguous()
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
        if records_gradient():
            # In single precision: CPUs take three times as long for sums of products in half precision.
            single = torch.promote_types(fixed.dtype, torch.float32)
            function = _CompiledCorrelation if uses_kernels(fixed, moving) else _Correlation
            return function.apply(fixed.to(single), moving.to(single)).to(fixed.dtype)
    return _correlate(fixed, moving)


def swapped_correlation(correlation: Tensor) -> Tensor:
    """Local correlation of the swapped pair, from the same products.

    Args:
        correlation: `(B, 27, D, H, W)`, `local_correlation(fixed, moving)`.

    Returns:
        `(B, 27, D, H, W)`, `local_correlation(moving, fixed)`.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
        if records_gradient():
            return SelfAdjoint.apply(_swap, correlation)
    return _swap(correlation)


def _correlate(fixed: Tensor, moving: Tensor) -> Tensor:
    return torch.cat([(fixed * shifted).sum(dim=1, keepdim=True) for shifted in _shifted(moving)], dim=1)


def _swap(correlation: Tensor) -> Tensor:
    # Self-adjoint: each product moves by its offset, to the channel of the opposite offset.
    products = []
    for i, shifted in enumerate(_shifted(correlation)):
        products.append(shifted[:, 26 - i : 27 - i])
    return torch.cat(products, dim=1)


def _shifted(image: Tensor) -> list[Tensor]:
    """Views of the image shifted by each of the 27 offsets, 0 beyond the border."""
    padded = _padded(image)
    depth, height, width = image.shape[2], image.shape[3], image.shape[4]
    views = []
    for i in range(27):
        z, y, x = i // 9, i // 3 % 3, i % 3
        views.append(padded[:, :, z : z + depth, y : y + height, x : x + width])
    return views


def _padded(image: Tensor) -> Tensor:
    """The image with one voxel of zeros at each face."""
    return pad(image, [1, 1, 1, 1, 1, 1])


class _Correlation(torch.autograd.Function):
    """`_correlate` whose gradient is summed in place: autograd would allocate a volume of zeros per offset.

    On a GPU, where each operation launches a kernel, all offsets are one operation; a CPU's cache holds one offset.
    """

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moving: Tensor) -> Tensor:
        ctx.save_for_backward(fixed, moving)
        if fixed.is_cuda:
            return correlate_windows(fixed, moving)
        return _correlate(fixed, moving)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        fixed, moving = ctx.saved_tensors
        gradient = gradient.contiguous()
        return _weighted_sum(gradient, moving), _weighted_sum(_swap(gradient), fixed)


class _CompiledCorrelation(torch.autograd.Function):
    """`_correlate` on the CPU by compiled code."""

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moving: Tensor) -> Tensor:
        ctx.save_for_backward(fixed, moving)
        products = fixed.new_empty([len(fixed), 27, *fixed.shape[2:]])
        for volumes in zip(fixed, _padded(moving), products, strict=True):
            call("correlate", *volumes, *fixed.shape[1:])
        return products

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        fixed, moving = ctx.saved_tensors
        gradient = gradient.contiguous()
        return _compiled_weighted_sum(gradient, moving), _compiled_weighted_sum(_swap(gradient), fixed)


def _weighted_sum(weights: Tensor, image: Tensor) -> Tensor:
    """Sums over each voxel's 3×3×3 neighborhood of the image, with one of the 27 weights per offset."""
    if image.is_cuda:
        return sum_windows(weights, image)
    total = torch.zeros_like(image)
    for i, shifted in enumerate(_shifted(image)):
        total.addcmul_(weights[:, i : i + 1], shifted)
    return total


def _compiled_weighted_sum(weights: Tensor, image: Tensor) -> Tensor:
    """`_weighted_sum` by compiled code."""
    total = torch.empty_like(image)
    for volumes in zip(weights, _padded(image), total, strict=True):
        call("correlate_backward", *volumes, *image.shape[1:])
    return total


def correlate_windows(fixed: Tensor, moving: Tensor) -> Tensor:
    """`_correlate` on a GPU: all offsets in one operation.

    Args:
        fixed: `(B, C, D, H, W)`.
        moving: the same shape; 0 beyond the border.

    Returns:
        `(B, 27, D, H, W)`: sums over channels of the products.
    """
    return (fixed[:, :, None, None, None] * _windows(moving)).sum(dim=1).flatten(1, 3)


def sum_windows(weights: Tensor, image: Tensor) -> Tensor:
    """`_weighted_sum` on a GPU: all offsets in one operation.

    Args:
        weights: `(B, 27, D, H, W)`.
        image: `(B, C, D, H, W)`; 0 beyond the border.

    Returns:
        `(B, C, D, H, W)`
    """
    return (weights.unflatten(1, (1, 3, 3, 3)) * _windows(image)).sum(dim=(2, 3, 4))


def _windows(image: Tensor) -> Tensor:
    """`_shifted` as one tensor, a view: `(B, C, 3, 3, 3, D, H, W)`."""
    windows = _padded(image)
    for axis, size in zip((2, 3, 4), image.shape[2:], strict=True):
        windows = windows.unfold(axis, size, 1)  # the offsets stay at the axis, its voxels become the last axis
    return windows
