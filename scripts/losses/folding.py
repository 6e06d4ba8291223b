"""Folding of a displacement field."""

import torch
from torch import Tensor, nn

from scripts.spatial import jacobian_determinant

_PLANES = 8  # of a field at a time, which a cache holds with what is computed of them


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
        lack = torch.relu(self.margin - _determinants(field if field.is_cuda else self._where_lacking(field)))
        return lack.sum() / (10 * field[:, 0, 1:-1, 1:-1, 1:-1].numel())

    def _where_lacking(self, field: Tensor) -> Tensor:
        """The neighborhoods `(M, 3, 3, 3, 3)` of the few voxels that lack volume.

        A CPU finds them faster than it computes a gradient everywhere. A GPU would have to wait for their number.
        """
        with torch.no_grad():
            slabs = [
                field[:, :, start : start + _PLANES + 2] for start in range(0, max(field.shape[2] - 2, 1), _PLANES)
            ]
            # Not "below the margin": NaN is to come out as NaN.
            lacking = torch.cat([~(_determinants(slab) >= self.margin).all(dim=1) for slab in slabs], dim=1)
            item, *corner = lacking.nonzero().view(-1, 4, 1, 1, 1).unbind(1)
            steps = torch.arange(3, device=field.device)
            z, y, x = (corner[i] + steps.view([3 if i == j else 1 for j in range(3)]) for i in range(3))
        return field.movedim(1, -1)[item, z, y, x].movedim(-1, 1)


def _determinants(field: Tensor) -> Tensor:
    """Of the ten tetrahedra, each 1 for the identity: `(B, 10, D-2, H-2, W-2)`."""
    # In the paper's scale, the two central tetrahedra of the identity have 2.
    central = [jacobian_determinant(field, scheme)[:, None] / 2 for scheme in ("J*1", "J*2")]
    # The eight schemes of one-sided differences share their edges.
    a, b, c = (_one_sided_edges(field, axis) for axis in range(3))
    a0, a1, a2 = a[:, :, :, None, None].unbind(1)
    b0, b1, b2 = b[:, :, None, :, None].unbind(1)
    c0, c1, c2 = c[:, :, None, None, :].unbind(1)
    one_sided = a0 * (b1 * c2 - b2 * c1) + a1 * (b2 * c0 - b0 * c2) + a2 * (b0 * c1 - b1 * c0)
    return torch.cat([one_sided.flatten(1, 3), *central], dim=1)


def _one_sided_edges(field: Tensor, axis: int) -> Tensor:
    """Deformed edges along an axis `(B, 3, 2, D-2, H-2, W-2)`: to each interior voxel and on to the next."""
    for other in {2, 3, 4} - {2 + axis}:
        field = field.narrow(other, 1, field.shape[other] - 2)
    edges = field.diff(dim=2 + axis)
    edges[:, axis] += 1
    # A view that holds them twice, shifted by one voxel.
    return edges.unfold(2 + axis, edges.shape[2 + axis] - 1, 1).movedim((2 + axis, -1), (2, 3 + axis)).contiguous()
