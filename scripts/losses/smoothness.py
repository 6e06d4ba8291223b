# SPDX-License-Identifier: Apache-2.0
"""Smoothness of a displacement field."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class SmoothnessLoss(nn.Module):
    """Mean squared forward difference of a field (the diffusion regularizer of VoxelMorph, TMI 2019).

    Forward differences, since central ones of a checkerboard are 0.
    """

    def forward(self, field: Tensor) -> Tensor:
        """Penalize the derivatives of a field.

        Args:
            field: `(B, 3, D, H, W)`, voxels.

        Returns:
            A dimensionless scalar, 0 for a translation.
        """
        return _MeanSquares.apply(field)


class _MeanSquares(torch.autograd.Function):
    """`SmoothnessLoss` whose gradient is summed in place: autograd would allocate a volume per term."""

    @staticmethod
    def forward(ctx: Any, field: Tensor) -> Tensor:
        ctx.save_for_backward(field)
        squares = (differences.square().mean() for _, differences in _forward_differences(field))
        return sum(squares, field.new_zeros(())) / 3

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (field,) = ctx.saved_tensors
        field_gradient = torch.zeros_like(field)
        for axis, differences in _forward_differences(field):
            slope = 2 / (3 * differences.numel())
            field_gradient.narrow(axis, 1, differences.shape[axis]).add_(differences, alpha=slope)
            field_gradient.narrow(axis, 0, differences.shape[axis]).sub_(differences, alpha=slope)
        return field_gradient.mul_(gradient)


def _forward_differences(field: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Axis and forward differences along it, for each axis of at least two voxels."""
    for axis in (2, 3, 4):
        if field.shape[axis] > 1:
            yield axis, field.diff(dim=axis)
