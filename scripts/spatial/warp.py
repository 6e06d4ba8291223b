# SPDX-License-Identifier: Apache-2.0
"""Resampling of an image by a displacement field."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import grid_sample

from scripts.spatial.compiled import CompiledWarp
from scripts.spatial.dispatch import is_cpu_inference, records_gradient, uses_kernels
from scripts.spatial.gather import gather_warp

_BILINEAR, _BORDER = 0, 1  # numbers of these modes in torch's operators


def warp(image: Tensor, field: Tensor, mode: str = "linear") -> Tensor:
    """Pull an image back by a displacement field: `warped(x) = image(x + field(x))`.

    Coordinates stay in the field's precision whatever the image's dtype: half precision would be off by up to a
    voxel at size 256.

    Args:
        image: `(B, C, D, H, W)`, any dtype. Integer values up to 2^24 are kept exactly by `nearest`.
        field: `(B, 3, D, H, W)`, float32 or float64, in voxels.
        mode: `linear` or `nearest`.

    Returns:
        `(B, C, D, H, W)` in the image's dtype; in the field's dtype where integers are interpolated linearly.

    Raises:
        ValueError: for shapes that do not fit each other, or an unknown mode.
    """
    if image.dim() != 5 or field.dim() != 5 or field.shape[1] != 3:
        raise ValueError(f"warp takes a 5-D image and a field of 3 channels, not {image.shape} and {field.shape}")
    if image.shape[0] != field.shape[0] or image.shape[2:] != field.shape[2:]:
        raise ValueError(f"image {image.shape} and field {field.shape} differ in batch or spatial size")
    if mode != "linear" and mode != "nearest":
        raise ValueError(f"mode is linear or nearest, not {mode}")

    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
        if mode == "linear" and image.is_floating_point():
            if is_cpu_inference(image) and image.shape[1] >= 8:
                return gather_warp(image, field)
            if uses_kernels(image, field):
                return CompiledWarp.apply(image, field)
            if records_gradient():
                warped = _Warp.apply(image.to(field.dtype), field).to(image.dtype)
                last = image.is_contiguous(memory_format=torch.channels_last_3d)
                return warped.contiguous(memory_format=torch.channels_last_3d) if last else warped
    warped = grid_sample(
        image.to(field.dtype),
        _grid(field),
        mode="nearest" if mode == "nearest" else "bilinear",
        padding_mode="border",
        align_corners=True,
    )
    if mode == "nearest" or image.is_floating_point():
        warped = warped.to(image.dtype)
    return warped


def _grid(field: Tensor) -> Tensor:
    """Sampled positions in grid_sample's convention: in [-1, 1], the last array axis first."""
    depth, height, width = field.shape[2], field.shape[3], field.shape[4]
    components = field.unbind(1)
    z = torch.add(_normalized_axis(depth, field).view(1, depth, 1, 1), components[0], alpha=2.0 / max(depth - 1, 1))
    y = torch.add(_normalized_axis(height, field).view(1, 1, height, 1), components[1], alpha=2.0 / max(height - 1, 1))
    x = torch.add(_normalized_axis(width, field).view(1, 1, 1, width), components[2], alpha=2.0 / max(width - 1, 1))
    return torch.stack([x, y, z], dim=1).permute(0, 2, 3, 4, 1)  # strided: interleaving takes longer


class _Warp(torch.autograd.Function):
    """Linear `warp` whose gradient takes few operations: on a GPU each of them launches a kernel."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, field: Tensor) -> Tensor:
        grid = torch.empty_like(field, memory_format=torch.contiguous_format)
        for axis, (positions, scale) in enumerate(_axes(tuple(field.shape[2:]), field.dtype, field.device)):
            torch.add(positions, field[:, axis], alpha=scale, out=grid[:, 2 - axis])
        grid = grid.permute(0, 2, 3, 4, 1)
        ctx.save_for_backward(image, grid)
        return torch.grid_sampler_3d(image, grid, _BILINEAR, _BORDER, True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        image, grid = ctx.saved_tensors
        needed = [ctx.needs_input_grad[0], True]
        image_gradient, grid_gradient = torch.ops.aten.grid_sampler_3d_backward(
            gradient, image, grid, _BILINEAR, _BORDER, True, needed
        )
        field_gradient = torch.empty_like(grid.permute(0, 4, 1, 2, 3))
        for axis, size in enumerate(gradient.shape[2:]):
            torch.mul(grid_gradient[..., 2 - axis], 2.0 / max(size - 1, 1), out=field_gradient[:, axis])
        return image_gradient, field_gradient


@cache
def _axes(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> list[tuple[Tensor, float]]:
    """Normalized voxel positions along each axis, shaped to broadcast, and the normalized length of one voxel.

    Cached, as training needs the same ones a hundred times a step.
    """
    axes = []
    for axis, length in enumerate(size):
        positions = _normalized_axis(length, torch.empty((), dtype=dtype, device=device))
        axes.append((positions.view([-1 if i == axis else 1 for i in range(3)]), 2.0 / max(length - 1, 1)))
    return axes


def _normalized_axis(size: int, like: Tensor) -> Tensor:
    # Not linspace: torch.export makes its number of steps a constant.
    voxels = torch.arange(size, dtype=like.dtype, device=like.device)
    return (2 * voxels - (size - 1)) / max(size - 1, 1)
