# SPDX-License-Identifier: Apache-2.0
"""Target registration error (TRE): distance of corresponding landmarks after a registration."""

from collections.abc import Sequence

import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from scripts.metrics.volumes import as_batch_of_one, as_label_map


def tre(
    field: Tensor, fixed_points: Tensor, moving_points: Tensor, spacing: Sequence[float] | Tensor = (1.0, 1.0, 1.0)
) -> Tensor:
    """Distance between `x + field(x)` and the moving landmark, for each fixed landmark x (Learn2Reg's TRE).

    Args:
        field: displacement field, `(3, D, H, W)` float32 or float64, voxels; interpolated linearly, outside the grid
            that of the nearest border voxel.
        fixed_points: fixed landmarks, `(N, 3)`, voxels of the fixed grid, in the order of the array axes.
        moving_points: moving landmarks, `(N, 3)`, voxels of the moving image, in the same order.
        spacing: voxel size of the moving image along each array axis, mm.

    Returns:
        `(N,)` float64 on the CPU, mm.

    Raises:
        ValueError: if a shape differs from these.
    """
    field = as_batch_of_one(field)[0]
    if fixed_points.shape != moving_points.shape or fixed_points.dim() != 2 or fixed_points.shape[1] != 3:
        raise ValueError(f"landmarks are (N, 3), got {tuple(fixed_points.shape)} and {tuple(moving_points.shape)}")
    fixed = fixed_points.double().cpu()
    # Not grid_sample: its normalized float32 coordinates are less accurate.
    displacement = [
        torch.from_numpy(map_coordinates(component, fixed.T, order=1, mode="nearest", output="float64"))
        for component in field.detach().cpu().numpy()
    ]
    error = fixed + torch.stack(displacement, dim=1) - moving_points.double().cpu()
    return torch.linalg.vector_norm(error * torch.as_tensor(spacing, dtype=torch.float64).cpu(), dim=1)


def label_tre(fixed_label: Tensor, warped_label: Tensor, labels: Sequence[int]) -> Tensor:
    """Distance between the centroids of each landmark label, LUMIR's TRE; `.nanmean()` is the pair's TRE.

    Args:
        fixed_label: map of the fixed landmarks, each a label above 0, `(D, H, W)` or `(1, D, H, W)`, integers.
        warped_label: map of the moving landmarks, warped (nearest) to the fixed grid, the same shape.
        labels: values of the landmarks, above 0.

    Returns:
        `(len(labels),)` float64, voxels (mm on LUMIR's grid); NaN for a landmark that is absent in either map.

    Raises:
        ValueError: if a map is no label map (see `as_label_map`).
    """
    difference = _centroids(fixed_label, labels) - _centroids(warped_label, labels)
    return torch.linalg.vector_norm(difference, dim=1)


def _centroids(label_map: Tensor, labels: Sequence[int]) -> Tensor:
    """`(len(labels), 3)` float64, voxels; NaN for an absent label."""
    label_map = as_label_map(label_map)
    positions = label_map.nonzero()
    values = label_map[tuple(positions.T)]
    count = max(int(label_map.max()), *labels) + 1
    sums = torch.zeros(count, 3, dtype=torch.float64, device=label_map.device)
    sums.index_add_(0, values, positions.double())
    return (sums / torch.bincount(values, minlength=count)[:, None])[list(labels)]
