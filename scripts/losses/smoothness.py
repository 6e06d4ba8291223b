"""Smoothness of a displacement field."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class SmoothnessLoss(nn.Module):
    """Mean squared forward difference of a field (the diffusion regulariser of VoxelMorph, TMI 2019).

    Forward differences, since central ones do not see a checkerboard.
    """

    def forward(self, field: Tensor) -> Tensor:
        """Penalise `(B, 3, D, H, W)` in voxels; the result is a dimensionless scalar, 0 for a translation."""
        return _MeanSquares.apply(field)


class _MeanSquares(torch.autograd.Function):
    """The loss, with a gradient that adds up in place: autograd would make a volume for each of its terms."""

    @staticmethod
    def forward(ctx: Any, field: Tensor) -> Tensor:
        ctx.save_for_backward(field)
        squares = (differences.square().mean() for _, differences in _forward_differences(field))
        return sum(squares, field.new_zeros(())) / 3

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (field,) = ctx.saved_tensors
        to_field = torch.zeros_like(field)
        for axis, differences in _forward_differences(field):
            slope = 2 / (3 * differences.numel())
            to_field.narrow(axis, 1, differences.shape[axis]).add_(differences, alpha=slope)
            to_field.narrow(axis, 0, differences.shape[axis]).sub_(differences, alpha=slope)
        return to_field.mul_(gradient)


def _forward_differences(field: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Along each axis that has any."""
    for axis in (2, 3, 4):
        if field.shape[axis] > 1:
            yield axis, field.diff(dim=axis)
