# SPDX-License-Identifier: Apache-2.0
"""Linear warp and integration on the CPU with gradients, by compiled code.

torch's `grid_sample` processes a volume of few channels one number at a time.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from scripts.kernels import call

_VECTOR = 4  # the number of channels of a row is padded to a multiple of it


class CompiledWarp(torch.autograd.Function):
    """Linear `scripts.spatial.warp` of a float image on the CPU."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, field: Tensor) -> Tensor:
        ctx.save_for_backward(image, field)
        return _to_volume(_sample(_to_rows(image, field.dtype), _to_rows(field, field.dtype)), image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        image, field = ctx.saved_tensors
        image_rows, field_rows, gradient_rows = (_to_rows(volume, field.dtype) for volume in (image, field, gradient))
        # Label masks need no gradient.
        image_gradient = torch.zeros_like(image_rows) if ctx.needs_input_grad[0] else None
        field_gradient = _sample_backward(image_rows, field_rows, gradient_rows, image_gradient)
        return None if image_gradient is None else _to_volume(image_gradient, image), _to_volume(field_gradient, field)


class CompiledIntegration(torch.autograd.Function):
    """`scripts.spatial.integrate` on the CPU."""

    @staticmethod
    def forward(ctx: Any, velocity: Tensor, steps: int) -> Tensor:
        fields = [_to_rows(velocity, velocity.dtype) / 2.0**steps]
        for _ in range(steps):
            fields.append(_sample(fields[-1], fields[-1]).add_(fields[-1]))
        ctx.save_for_backward(*fields[:-1])
        return _to_volume(fields[-1], velocity)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows = _to_rows(gradient, gradient.dtype)
        for field in reversed(ctx.saved_tensors):
            total = rows.clone()
            rows = total.add_(_sample_backward(field, field, rows, total))
        return _to_volume(rows / 2.0 ** len(ctx.saved_tensors), gradient), None


def _to_rows(volume: Tensor, dtype: torch.dtype) -> Tensor:
    """`(B, C, D, H, W)` as contiguous `(B, D, H, W, C')`: C padded with zeros to a multiple of `_VECTOR`."""
    voxels = volume.movedim(1, -1)
    channels = voxels.shape[-1]
    if channels % _VECTOR == 0:
        return voxels.to(dtype).contiguous()
    rows = voxels.new_zeros([*voxels.shape[:-1], -(-channels // _VECTOR) * _VECTOR], dtype=dtype)
    for channel in range(channels):  # one copy of all channels takes twice as long
        rows[..., channel] = voxels[..., channel]
    return rows


def _to_volume(rows: Tensor, like: Tensor) -> Tensor:
    """Rows as a volume with the shape, dtype and memory layout of `like`."""
    return torch.empty_like(like).copy_(rows[..., : like.shape[1]].movedim(-1, 1))


def _sample(image: Tensor, field: Tensor) -> Tensor:
    sampled = torch.empty_like(image)
    for rows in zip(image, field, sampled, strict=True):
        call("sample", *rows, *_sizes(image))
    return sampled


def _sample_backward(image: Tensor, field: Tensor, gradient: Tensor, image_gradient: Tensor | None) -> Tensor:
    """Return the field's gradient, and add the image's to `image_gradient` unless that is None."""
    field_gradient = torch.empty_like(field)
    for i, rows in enumerate(zip(image, field, gradient, strict=True)):
        item_gradient = None if image_gradient is None else image_gradient[i]
        call("sample_backward", *rows, item_gradient, field_gradient[i], *_sizes(image))
    return field_gradient


def _sizes(rows: Tensor) -> tuple[int, int, int, int]:
    """Depth, height, width and vectors per row of rows `(B, D, H, W, C)`."""
    return rows.shape[1], rows.shape[2], rows.shape[3], rows.shape[4] // _VECTOR
