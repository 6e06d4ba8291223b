"""Correlation of the features of two images with each other's neighborhoods."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from scripts.kernels import call
from scripts.spatial import SelfAdjoint, is_compiled, is_trained


def local_correlation(fixed: Tensor, moving: Tensor) -> Tensor:
    """How well each voxel's features match those of the 27 voxels around its place in the other image.

    Args:
        fixed: `(B, C, D, H, W)`.
        moving: the same shape.

    Returns:
        `(B, 27, D, H, W)`: the mean over channels of the products, one channel per offset of -1, 0, 1 along each axis.
    """
    fixed, moving = fixed.contiguous() / fixed.shape[1], moving.contiguous()
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript skips what is in it, unread)
        if is_trained():
            # In single precision: CPUs take three times as long for sums of products in half precision.
            single = torch.promote_types(fixed.dtype, torch.float32)
            way = _CompiledCorrelation if is_compiled(fixed, moving) else _Correlation
            return way.apply(fixed.to(single), moving.to(single)).to(fixed.dtype)
    return _correlation(fixed, moving)


def swapped_correlation(correlation: Tensor) -> Tensor:
    """`local_correlation(moving, fixed)` of `local_correlation(fixed, moving)`: the same products, found elsewhere."""
    if not torch.jit.is_scripting():  # noqa: SIM102
        if is_trained():
            return SelfAdjoint.apply(_swap, correlation)
    return _swap(correlation)


def _correlation(fixed: Tensor, moving: Tensor) -> Tensor:
    return torch.cat([(fixed * shifted).sum(dim=1, keepdim=True) for shifted in _shifted(moving)], dim=1)


def _swap(correlation: Tensor) -> Tensor:
    # Its own transpose: the offset of each product is turned around, and so is its channel.
    products = []
    for i, shifted in enumerate(_shifted(correlation)):
        products.append(shifted[:, 26 - i : 27 - i])
    return torch.cat(products, dim=1)


def _shifted(image: Tensor) -> list[Tensor]:
    """The image as seen from each of the 27 voxels around: zero beyond the border."""
    return _views(_padded(image))


def _padded(image: Tensor) -> Tensor:
    """With zeros beyond the border."""
    return pad(image, [1, 1, 1, 1, 1, 1])


def _views(around: Tensor) -> list[Tensor]:
    """The 27 boxes of an image that are smaller by one voxel at each face."""
    depth, height, width = around.shape[2] - 2, around.shape[3] - 2, around.shape[4] - 2
    views = []
    for i in range(27):
        z, y, x = i // 9, i // 3 % 3, i % 3
        views.append(around[:, :, z : z + depth, y : y + height, x : x + width])
    return views


class _Correlation(torch.autograd.Function):
    """`_correlation`, with a gradient that adds up in place: autograd would make a volume of zeros for each offset.

    On a GPU, where each operation is a kernel to launch, all offsets at once; a CPU's cache holds one.
    """

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moving: Tensor) -> Tensor:
        ctx.save_for_backward(fixed, moving)
        return _correlation_at_once(fixed, moving) if fixed.is_cuda else _correlation(fixed, moving)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        fixed, moving = ctx.saved_tensors
        gradient = gradient.contiguous()
        swapped = _swap(gradient)
        if fixed.is_cuda:
            return _weighted_at_once(gradient, moving), _weighted_at_once(swapped, fixed)
        to_fixed, to_moving = torch.zeros_like(fixed), torch.zeros_like(moving)
        for i, (fixed_there, moving_there) in enumerate(zip(_shifted(fixed), _shifted(moving), strict=True)):
            to_fixed.addcmul_(gradient[:, i : i + 1], moving_there)
            to_moving.addcmul_(swapped[:, i : i + 1], fixed_there)
        return to_fixed, to_moving


class _CompiledCorrelation(torch.autograd.Function):
    """`_correlation` on the CPU, by compiled code."""

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
        return _weighted_compiled(gradient, moving), _weighted_compiled(_swap(gradient), fixed)


def _weighted_compiled(weights: Tensor, image: Tensor) -> Tensor:
    """The 27 voxels around each voxel, summed with a weight each."""
    weighed = torch.empty_like(image)
    for volumes in zip(weights, _padded(image), weighed, strict=True):
        call("weigh", *volumes, *image.shape[1:])
    return weighed


def _correlation_at_once(fixed: Tensor, moving: Tensor) -> Tensor:
    return (fixed[:, :, None, None, None] * _windows(moving)).sum(dim=1).flatten(1, 3)


def _weighted_at_once(weights: Tensor, image: Tensor) -> Tensor:
    """The 27 voxels around each voxel, summed with a weight each."""
    return (weights.unflatten(1, (1, 3, 3, 3)) * _windows(image)).sum(dim=(2, 3, 4))


def _windows(image: Tensor) -> Tensor:
    """`_shifted` as one tensor, a view: `(B, C, 3, 3, 3, D, H, W)`."""
    windows = _padded(image)
    for axis, size in zip((2, 3, 4), image.shape[2:], strict=True):
        windows = windows.unfold(axis, size, 1)  # the offsets stay at the axis, its voxels go to the end
    return windows
