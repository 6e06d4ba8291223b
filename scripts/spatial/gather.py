"""Linear warps on the CPU by sums of rows, which torch vectorizes, as it does not grid_sample in 3-D.

A row holds all channels of a voxel, so this pays off where there are many.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

_PLANES = 8  # at a time: indices and weights of all would take as much memory as the features


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
