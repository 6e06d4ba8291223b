"""Smoothness of a displacement field."""

from torch import Tensor, nn


class SmoothnessLoss(nn.Module):
    """Mean squared forward difference of a field (the diffusion regulariser of VoxelMorph, TMI 2019).

    Forward differences, since central ones do not see a checkerboard.
    """

    def forward(self, field: Tensor) -> Tensor:
        """Penalise `(B, 3, D, H, W)` in voxels; the result is a dimensionless scalar, 0 for a translation."""
        squares = [
            (field.narrow(axis, 1, n - 1) - field.narrow(axis, 0, n - 1)).square().mean()
            for axis, n in enumerate(field.shape)
            if axis >= 2 and n > 1
        ]
        return sum(squares, field.new_zeros(())) / 3
