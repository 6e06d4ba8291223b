"""Folding of a displacement field."""

from itertools import product

import torch
from torch import Tensor, nn

from scripts.spatial import jacobian_determinant


class FoldingLoss(nn.Module):
    """Mean lack of volume, `relu(margin - det)`, over the interior voxels and the ten tetrahedra at each.

    0 where a field is digitally diffeomorphic (Liu et al., IJCV 2024; see `jacobian_determinant`) with some volume to
    spare.

    Args:
        margin: determinant below which a tetrahedron lacks volume; the identity's are 1.
    """

    def __init__(self, margin: float = 0.05) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, field: Tensor) -> Tensor:
        """Penalise `(B, 3, D, H, W)` in voxels, every size at least 3; the result is a dimensionless scalar.

        Raises:
            ValueError: for another shape.
        """
        # In the paper's scale, the two central tetrahedra of the identity have 2.
        determinants = [jacobian_determinant(field, "J*1") / 2, jacobian_determinant(field, "J*2") / 2]
        # The eight schemes of one-sided differences share their edges: a third of the time of eight calls.
        along_x, along_y, along_z = (_one_sided_edges(field, axis) for axis in range(3))
        for b, c in product(along_y, along_z):
            normal = b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]
            determinants += [a[0] * normal[0] + a[1] * normal[1] + a[2] * normal[2] for a in along_x]
        return torch.stack([torch.relu(self.margin - determinant).mean() for determinant in determinants]).mean()


def _one_sided_edges(field: Tensor, axis: int) -> list[tuple[Tensor, ...]]:
    """Deformed edges from each interior voxel to the next along an axis, and from the one before to it."""
    for other in {2, 3, 4} - {2 + axis}:
        field = field.narrow(other, 1, field.shape[other] - 2)
    edges = list(field.diff(dim=2 + axis).unbind(1))
    edges[axis] = edges[axis] + 1
    size = field.shape[2 + axis] - 2
    return [tuple(edge.narrow(1 + axis, start, size) for edge in edges) for start in (1, 0)]
