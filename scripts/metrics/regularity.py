# SPDX-License-Identifier: Apache-2.0
"""Regularity of a displacement field: non-diffeomorphic volume, folding and spread of the Jacobian determinant."""

import torch
from torch import Tensor

from scripts.metrics.volumes import as_batch_of_one, as_volume
from scripts.spatial.jacobian import TETRAHEDRA, jacobian_determinant


def non_diffeomorphic_volume(field: Tensor, mask: Tensor) -> Tensor:
    """Non-diffeomorphic volume (NDV, Liu et al., IJCV 2024): folded volume in percent of the mask's.

    The sum of the negative volumes of the ten tetrahedra of each voxel, halved because they fill the space twice. LUMIR
    uses the moving image > 0 as the mask. Differentiable.

    Args:
        field: displacement field, `(3, D, H, W)`, voxels.
        mask: mask of the voxels that count, those above 0, `(D, H, W)` or `(1, D, H, W)`; the outermost layer of the
            grid never counts.

    Returns:
        Scalar, percent; NaN for an empty mask.

    Raises:
        ValueError: if a shape differs from these, or the sizes differ.
    """
    inside = _interior(mask, field)
    volume = field.new_zeros(())
    for scheme in TETRAHEDRA:  # one at a time: a determinant takes as much memory as an image
        determinant = jacobian_determinant(as_batch_of_one(field), scheme)[0]
        volume = volume - (determinant.clamp(max=0.0) * inside).sum() / 6.0 / 2.0
    return 100.0 * volume / inside.sum()


def percent_folding(field: Tensor, mask: Tensor | None = None) -> Tensor:
    """Percentage of voxels whose Jacobian determinant, by central differences, is 0 or negative.

    Args:
        field: displacement field, `(3, D, H, W)`, voxels.
        mask: mask of the voxels that count, those above 0, `(D, H, W)` or `(1, D, H, W)`; all where None. The outermost
            layer of the grid never counts.

    Returns:
        Scalar, percent; NaN for an empty mask.

    Raises:
        ValueError: if a shape differs from these, or the sizes differ.
    """
    folded = jacobian_determinant(as_batch_of_one(field))[0] <= 0.0
    if mask is not None:
        folded = folded[_interior(mask, field)]
    return 100.0 * folded.float().mean()


def sdlogj(field: Tensor) -> Tensor:
    """Standard deviation of `log(det + 3)` of the Jacobian determinant, Learn2Reg's SDlogJ.

    Central differences without the two outermost layers; `det + 3` is clipped to [1e-9, 1e9].

    Args:
        field: displacement field, `(3, D, H, W)`, voxels, every size at least 5.

    Returns:
        Scalar, from 0.

    Raises:
        ValueError: if the shape differs from this, or a size is below 5.
    """
    batch = as_batch_of_one(field)
    if min(batch.shape[2:]) < 5:
        raise ValueError(f"sdlogj needs 5 voxels along every axis, got {tuple(field.shape)}")
    determinant = jacobian_determinant(batch)[0, 1:-1, 1:-1, 1:-1]
    return torch.log((determinant + 3.0).clamp(1e-9, 1e9)).std(correction=0)


def _interior(mask: Tensor, field: Tensor) -> Tensor:
    volume = as_volume(mask)
    if volume.shape != field.shape[1:]:
        raise ValueError(f"mask {tuple(volume.shape)} and field {tuple(field.shape)} differ in size")
    return volume[1:-1, 1:-1, 1:-1] > 0
