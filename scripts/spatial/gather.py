# SPDX-License-Identifier: Apache-2.0
"""Linear warp on the CPU by weighted sums of rows, which torch vectorizes, unlike grid_sample in 3-D.

A row holds all channels of a voxel, so this is faster for images of many channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

_PLANES = 8  # at a time: indices and weights of the whole volume would take as much memory as the features


def gather_warp(image: Tensor, field: Tensor) -> Tensor:
    """Linear `scripts.spatial.warp` of a float image on the CPU, in the image's memory layout."""
    size = list(image.shape[2:])
    warped = torch.empty_like(image)
    for item in range(len(image)):
        rows = _rows(image[item], field.dtype)
        for start in range(0, size[0], _PLANES):
            positions = _positions(field[item, :, start : start + _PLANES], start)
            corners = _corners(size, positions)
            slab = _channels_last(warped[item])[start : start + _PLANES]
            slab.copy_(_weighted_rows(rows, corners, torch.stack(corners.weights(), dim=-1)).view(slab.shape))
    return warped


class _Corners(NamedTuple):
    """The eight voxels around each of N positions.

    Attributes:
        first: row of the voxel with the lowest indices, `(N,)`.
        distances: distances of the eight rows from `first`; the first axis varies fastest.
        upper: weight of the upper neighbor along each axis, `(N,)` each.
    """

    first: Tensor
    distances: list[int]
    upper: list[Tensor]

    def weights(self) -> list[Tensor]:
        """Weights of the eight voxels, `(N,)` each."""
        weights = [torch.ones_like(self.upper[0])]
        for upper in self.upper:
            weights = [weight * (1 - upper) for weight in weights] + [weight * upper for weight in weights]
        return weights


def _corners(size: list[int], positions: list[Tensor]) -> _Corners:
    first = torch.zeros_like(positions[0], dtype=torch.int)
    distances, upper = [0], []
    for axis in range(3):
        position = positions[axis].clamp(0, size[axis] - 1)
        # Clamped once more: NaN would become an index outside the volume.
        lower = position.int().clamp(0, max(size[axis] - 2, 0))
        upper.append((position - lower).flatten())
        first = first * size[axis] + lower
        distances = [distance * size[axis] for distance in distances]
        distances = distances + [distance + min(size[axis] - 1, 1) for distance in distances]
    return _Corners(first.flatten(), distances, upper)


def _positions(field: Tensor, start: int) -> list[Tensor]:
    """Sampled positions along each axis, in voxels, for a field `(3, D, H, W)` whose first plane is `start`."""
    positions = []
    for axis, size in enumerate(field.shape[1:]):
        voxels = torch.arange(size, device=field.device) + (start if axis == 0 else 0)
        positions.append(field[axis] + voxels.view([-1 if i == axis else 1 for i in range(3)]))
    return positions


def _channels_last(image: Tensor) -> Tensor:
    """`(C, D, H, W)` as `(D, H, W, C)`, a view."""
    return image.permute(1, 2, 3, 0)


def _rows(image: Tensor, dtype: torch.dtype) -> Tensor:
    """`(C, D, H, W)` as contiguous rows `(D * H * W, C)`."""
    return _channels_last(image).reshape(-1, len(image)).to(dtype).contiguous()


def _weighted_rows(rows: Tensor, corners: _Corners, weights: Tensor) -> Tensor:
    """Sums `(N, C)` of the eight rows around each position with weights `(N, 8)`."""
    index = torch.stack([corners.first + distance for distance in corners.distances], dim=-1)
    return embedding_bag(index, rows, mode="sum", per_sample_weights=weights)
