"""Linear warps on the CPU by sums of rows, which torch vectorizes, as it does not grid_sample in 3-D.

A row holds all channels of a voxel, so this pays off where there are many.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

_PLANES = 8  # at a time: indices and weights of all would take as much memory as the features


class GatheredWarp(torch.autograd.Function):
    """`scripts.spatial.warp`, linear, of a float image on the CPU, with its gradient."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, field: Tensor) -> Tensor:
        ctx.save_for_backward(image, field)
        return gathered(image, field)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        image, field = ctx.saved_tensors
        # Masks of labels need none.
        to_image = torch.empty_like(image) if ctx.needs_input_grad[0] else None
        to_field = torch.empty_like(field)
        for item in range(len(image)):
            positions, size = _positions(field[item], 0), list(image.shape[2:])
            corners = _corners(size, positions)
            weights = corners.weights()
            rows = _rows(gradient[item], field.dtype)
            if to_image is not None:
                place = _place(to_image[item])
                place.copy_(_spread(rows, corners, weights).view(place.shape))
            slopes = _slopes(_rows(image[item], field.dtype), rows, corners, weights)
            for axis, (slope, position) in enumerate(zip(slopes, positions, strict=True)):
                # As grid_sample has it, positions on the border and beyond have no slope.
                inside = (position > 0) & (position < size[axis] - 1)
                torch.mul(slope.view_as(position), inside, out=to_field[item, axis])
        return to_image, to_field


def gathered(image: Tensor, field: Tensor) -> Tensor:
    """`scripts.spatial.warp`, linear, of a float image on the CPU; its memory is laid out as the image's."""
    size = list(image.shape[2:])
    warped = torch.empty_like(image)
    for item in range(len(image)):
        rows = _rows(image[item], field.dtype)
        for start in range(0, size[0], _PLANES):
            positions = _positions(field[item, :, start : start + _PLANES], start)
            corners = _corners(size, positions)
            place = _place(warped[item])[start : start + _PLANES]
            place.copy_(_gathered_rows(rows, corners, torch.stack(corners.weights(), dim=-1)).view(place.shape))
    return warped


class _Corners(NamedTuple):
    """The eight voxels around each of N positions.

    Attributes:
        first: the row of the first of them, `(N,)`.
        distances: of the eight rows from the first, in an order in which the first axis alternates fastest.
        upper: along each axis, the share of those on its upper side, `(N,)`.
    """

    first: Tensor
    distances: list[int]
    upper: list[Tensor]

    def weights(self) -> list[Tensor]:
        """Shares of the eight voxels, `(N,)` each."""
        weights = [torch.ones_like(self.upper[0])]
        for upper in self.upper:
            weights = [weight * (1 - upper) for weight in weights] + [weight * upper for weight in weights]
        return weights


def _corners(size: list[int], positions: list[Tensor]) -> _Corners:
    first = torch.zeros_like(positions[0], dtype=torch.int)
    distances, upper = [0], []
    for axis in range(3):
        position = positions[axis].clamp(0, size[axis] - 1)
        # Clamped once more, as NaN would be a row beyond all.
        lower = position.int().clamp(0, max(size[axis] - 2, 0))
        upper.append((position - lower).flatten())
        first = first * size[axis] + lower
        distances = [distance * size[axis] for distance in distances]
        distances = distances + [distance + min(size[axis] - 1, 1) for distance in distances]
    return _Corners(first.flatten(), distances, upper)


def _positions(field: Tensor, start: int) -> list[Tensor]:
    """Where a field `(3, D, H, W)` that begins at some plane points to, along each axis."""
    positions = []
    for axis, size in enumerate(field.shape[1:]):
        voxels = torch.arange(size, device=field.device) + (start if axis == 0 else 0)
        positions.append(field[axis] + voxels.view([-1 if i == axis else 1 for i in range(3)]))
    return positions


def _place(image: Tensor) -> Tensor:
    """`(C, D, H, W)` as `(D, H, W, C)`, a view."""
    return image.permute(1, 2, 3, 0)


def _rows(image: Tensor, dtype: torch.dtype) -> Tensor:
    """`(C, D, H, W)` as contiguous rows `(D * H * W, C)`."""
    return _place(image).reshape(-1, len(image)).to(dtype).contiguous()


def _gathered_rows(rows: Tensor, corners: _Corners, weights: Tensor) -> Tensor:
    """The eight rows around each position, `(N, C)`, summed with weights `(N, 8)`."""
    index = torch.stack([corners.first + distance for distance in corners.distances], dim=-1)
    return embedding_bag(index, rows, mode="sum", per_sample_weights=weights)


def _slopes(rows: Tensor, gradient: Tensor, corners: _Corners, weights: list[Tensor]) -> list[Tensor]:
    """How the product of the interpolated rows and a gradient `(N, C)` changes along each axis, `(N,)` each."""
    with torch.enable_grad():
        stacked = torch.stack(weights, dim=-1).requires_grad_()
        products = torch.autograd.grad(_gathered_rows(rows, corners, stacked), stacked, gradient)[0]
    products = products.t().contiguous()
    slopes = []
    for axis in range(3):
        along = products.view(2, 2, 2, -1)  # last axis, ..., first axis
        for other in (2, 1, 0):
            upper = corners.upper[other]
            along = along[1] - along[0] if other == axis else along[0] * (1 - upper) + along[1] * upper
        slopes.append(along)
    return slopes


def _spread(gradient: Tensor, corners: _Corners, weights: list[Tensor]) -> Tensor:
    """Rows `(N, C)` added up where they were gathered from, by the same weights.

    Positions are sorted by their first row. Then each of the eight sums again is one of bags, without collisions.
    """
    count = len(gradient)
    order = corners.first.argsort(stable=True)
    ends = torch.bincount(corners.first, minlength=count).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    total = gradient.new_zeros(count + corners.distances[-1], gradient.shape[1])
    for distance, weight in zip(corners.distances, weights, strict=True):
        bags = embedding_bag(order, gradient, starts, mode="sum", per_sample_weights=weight[order])
        total[distance : distance + count] += bags
    return total[:count]
