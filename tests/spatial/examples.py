# SPDX-License-Identifier: Apache-2.0
"""Random, smooth and linear fields, and a warp that torch's autograd differentiates."""

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import grid_sample

PLACES = ("inside", "halves", "border", "outside", "all")
# Each size minus 1 is a power of two or 0, so normalized positions of voxels are exact.
SIZES = ((5, 3, 9), (1, 5, 3), (5, 1, 1))


# For properties that hold for any translation on any grid.
ANY_SIZE = st.tuples(*[st.integers(1, 9)] * 3)
ANY_SHIFT = st.tuples(*[st.floats(-20, 20)] * 3)
# Growth, shrinking, rotation and shear, small enough that the middle stays inside the grid.
RATES = torch.tensor([[0.10, -0.08, 0.02], [0.08, -0.05, 0.06], [0.00, -0.06, 0.04]], dtype=torch.float64)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def grid(*size: int) -> Tensor:
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij"))


def centered_grid(*size: int) -> Tensor:
    return grid(*size) - (torch.tensor(size, dtype=torch.float64).view(3, 1, 1, 1) - 1) / 2


def linear(matrix: Tensor, *size: int, offset: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Tensor:
    """`matrix (x - center) + offset` at every voxel."""
    field = torch.einsum("ij,jdhw->idhw", matrix, centered_grid(*size))
    return (field + torch.tensor(offset, dtype=torch.float64).view(3, 1, 1, 1))[None]


def translation(shift: tuple[float, ...], *size: int) -> Tensor:
    return torch.tensor(shift, dtype=torch.float64).view(1, 3, 1, 1, 1).expand(1, 3, *size).clone()


def smooth(seed: int, *size: int, amplitude: float = 2.0, sigma: float = 6.0) -> Tensor:
    """Smooth random field whose largest component is `amplitude`, 0 at the border."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(3, *size)), (0, sigma, sigma, sigma), mode="wrap")
    for axis, n in enumerate(size, start=1):
        fade = np.sin(np.pi * np.arange(n) / (n - 1)) ** 2
        field = field * fade.reshape([-1 if a == axis else 1 for a in range(4)])
    return torch.from_numpy(amplitude * field / np.abs(field).max())[None]


def inner(field: Tensor, margin: int) -> Tensor:
    """The field without its outermost voxels."""
    return field[..., margin:-margin, margin:-margin, margin:-margin]


def off_grid(seed: int, *size: int) -> Tensor:
    """Random field with components of 0.2 to 0.7 of either sign: linear interpolation has no derivative at voxels."""
    generator = torch.Generator().manual_seed(seed)
    magnitude = 0.2 + 0.5 * torch.rand(1, 3, *size, dtype=torch.float64, generator=generator)
    sign = 1 - 2 * torch.randint(2, magnitude.shape, generator=generator)
    return (magnitude * sign).requires_grad_()


def field_to(place: str, *size: int) -> Tensor:
    """A field `(2, 3, *size)` to positions of one kind.

    The kinds are between voxels (`inside`), multiples of half a voxel (`halves`), exactly on the border (`border`), at
    least half a voxel outside (`outside`), and a mixture of these except the halves (`all`).
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
    """Linear `warp` by torch's operations."""
    last = torch.tensor(field.shape[2:], dtype=field.dtype).view(3, 1, 1, 1) - 1
    positions = grid(*field.shape[2:]).to(field.dtype) + field
    normalized = (2 * positions - last) / last.clamp(min=1)
    return grid_sample(image, normalized.flip(1).movedim(1, -1), "bilinear", "border", align_corners=True)


def warped_with_gradients(function: Callable, image: Tensor, field: Tensor, gradient: Tensor) -> list[Tensor]:
    """The warped image, and the gradients of the image and of the field for the gradient of the warped image."""
    image, field = image.detach().requires_grad_(), field.detach().requires_grad_()
    warped = function(image, field)
    return [warped.detach(), *torch.autograd.grad(warped, (image, field), gradient.to(warped.dtype))]
