# SPDX-License-Identifier: Apache-2.0
"""Fields that point to all kinds of places, and the warp that torch's own autograd differentiates."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

PLACES = ("inside", "halves", "border", "outside", "all")
# One less than each size is a power of two, or 0: so positions of whole voxels have no rounding error.
SIZES = ((5, 3, 9), (1, 5, 3), (5, 1, 1))


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def grid(*size: int) -> Tensor:
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij"))


def field_to(place: str, *size: int) -> Tensor:
    """A field of two items `(2, 3, *size)` that points between voxels, to halves of a voxel (every second one is on a
    voxel), exactly to the border, at least half a voxel outside, or to some of the first and the last two.
    """
    generator = torch.Generator().manual_seed(0)
    last = torch.tensor(size, dtype=torch.float64).view(3, 1, 1, 1) - 1
    share = torch.rand(2, 3, *size, dtype=torch.float64, generator=generator)
    side = torch.randint(2, (2, 3, *size), generator=generator)
    kind = torch.randint(3, (2, 3, *size), generator=generator)
    places = {
        "inside": (0.01 + 0.98 * share) * last,
        "halves": (2 * share * last).round() / 2,
        "border": side * last,
        "outside": side * last + (2 * side - 1) * (0.5 + 100 * share),
    }
    inside, border, outside = (places[name] for name in ("inside", "border", "outside"))
    places["all"] = torch.where(kind == 0, inside, torch.where(kind == 1, border, outside))
    return places[place] - grid(*size)


def plain_warp(image: Tensor, field: Tensor) -> Tensor:
    """Linear `warp` in torch's own operations."""
    last = torch.tensor(field.shape[2:], dtype=field.dtype).view(3, 1, 1, 1) - 1
    positions = grid(*field.shape[2:]).to(field.dtype) + field
    normalized = (2 * positions - last) / last.clamp(min=1)
    return grid_sample(image, normalized.flip(1).movedim(1, -1), "bilinear", "border", align_corners=True)


def warped_with_gradients(
    way: Callable[[Tensor, Tensor], Tensor], image: Tensor, field: Tensor, gradient: Tensor
) -> list[Tensor]:
    """What is warped, and the gradients of the image and of the field for a gradient of the former."""
    image, field = image.detach().requires_grad_(), field.detach().requires_grad_()
    warped = way(image, field)
    return [warped.detach(), *torch.autograd.grad(warped, (image, field), gradient.to(warped.dtype))]
