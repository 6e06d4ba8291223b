"""Linear warps and flows on the CPU with gradients, by compiled code.

torch's own `grid_sample` goes through a volume of few channels one number at a time.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from scripts.kernels import call

_VECTOR = 4  # numbers; a row is padded to a multiple of them


class CompiledWarp(torch.autograd.Function):
    """`scripts.spatial.warp`, linear, of a float image on the CPU."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, field: Tensor) -> Tensor:
        ctx.save_for_backward(image, field)
        return _volume(_sampled(_rows(image, field.dtype), _rows(field, field.dtype)), image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        image, field = ctx.saved_tensors
        image_rows, field_rows, gradient_rows = (_rows(volume, field.dtype) for volume in (image, field, gradient))
        # Masks of labels need none.
        to_image = torch.zeros_like(image_rows) if ctx.needs_input_grad[0] else None
        to_field = _spread(image_rows, field_rows, gradient_rows, to_image)
        return None if to_image is None else _volume(to_image, image), _volume(to_field, field)


class CompiledFlow(torch.autograd.Function):
    """`scripts.spatial.integrate` on the CPU."""

    @staticmethod
    def forward(ctx: Any, velocity: Tensor, steps: int) -> Tensor:
        fields = [_rows(velocity, velocity.dtype) / 2.0**steps]
        for _ in range(steps):
            fields.append(_sampled(fields[-1], fields[-1]).add_(fields[-1]))
        ctx.save_for_backward(*fields[:-1])
        return _volume(fields[-1], velocity)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows = _rows(gradient, gradient.dtype)
        for field in reversed(ctx.saved_tensors):
            total = rows.clone()
            rows = total.add_(_spread(field, field, rows, total))
        return _volume(rows / 2.0 ** len(ctx.saved_tensors), gradient), None


def _rows(volume: Tensor, dtype: torch.dtype) -> Tensor:
    """`(B, C, D, H, W)` as `(B, D, H, W, C)`, C padded with zeros to whole vectors, contiguous."""
    places = volume.movedim(1, -1)
    channels = places.shape[-1]
    if channels % _VECTOR == 0:
        return places.to(dtype).contiguous()
    rows = places.new_zeros([*places.shape[:-1], -(-channels // _VECTOR) * _VECTOR], dtype=dtype)
    for channel in range(channels):  # all at once would take twice as long
        rows[..., channel] = places[..., channel]
    return rows


def _volume(rows: Tensor, like: Tensor) -> Tensor:
    """Rows as a volume with the shape, dtype and memory layout of another."""
    return torch.empty_like(like).copy_(rows[..., : like.shape[1]].movedim(-1, 1))


def _sampled(image: Tensor, field: Tensor) -> Tensor:
    sampled = torch.empty_like(image)
    for rows in zip(image, field, sampled, strict=True):
        call("sample", *rows, *_sizes(image))
    return sampled


def _spread(image: Tensor, field: Tensor, gradient: Tensor, to_image: Tensor | None) -> Tensor:
    """Add to the image's gradient, where it is wanted, and return that of the field."""
    to_field = torch.empty_like(field)
    for i, rows in enumerate(zip(image, field, gradient, strict=True)):
        call("spread", *rows, None if to_image is None else to_image[i], to_field[i], *_sizes(image))
    return to_field


def _sizes(rows: Tensor) -> tuple[int, int, int, int]:
    """Of rows `(B, D, H, W, C)`: D, H, W and vectors in a row."""
    return rows.shape[1], rows.shape[2], rows.shape[3], rows.shape[4] // _VECTOR
