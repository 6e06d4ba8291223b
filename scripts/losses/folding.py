# SPDX-License-Identifier: Apache-2.0
"""Folding of a displacement field."""

import torch
from torch import Tensor, nn

from scripts.spatial import jacobian_determinant

_MARGIN = 0.05  # determinant below which a tetrahedron is penalized; the identity's is 1
_PLANES = 8  # planes of a field per pass, so that it fits the cache with its intermediate results


class FoldingLoss(nn.Module):
    """Mean of `relu(0.05 - det)` over the interior voxels and the ten tetrahedra at each.

    0 if every determinant is at least 0.05, in which case the field is digitally diffeomorphic (Liu et al., IJCV 2024;
    see `jacobian_determinant`).
    """

    def forward(self, field: Tensor) -> Tensor:
        """Penalize the folds of a field.

        Args:
            field: `(B, 3, D, H, W)`, voxels, every size at least 3.

        Returns:
            A dimensionless scalar.

        Raises:
            ValueError: for another shape.
        """
        lack = torch.relu(_MARGIN - tetrahedra_determinants(field if field.is_cuda else _penalized(field)))
        return lack.sum() / (10 * field[:, 0, 1:-1, 1:-1, 1:-1].numel())


def _penalized(field: Tensor) -> Tensor:
    """The field in the 3×3×3 neighborhoods of the M penalized voxels, which are few: `(M, 3, 3, 3, 3)`.

    A CPU finds them faster than it computes a gradient at every voxel. A GPU would synchronize for their number.
    """
    with torch.no_grad():
        slabs = [field[:, :, start : start + _PLANES + 2] for start in range(0, max(field.shape[2] - 2, 1), _PLANES)]
        # Not "< _MARGIN": NaN must not be dropped.
        penalized = torch.cat([~(tetrahedra_determinants(slab) >= _MARGIN).all(dim=1) for slab in slabs], dim=1)
        item, *corner = penalized.nonzero().view(-1, 4, 1, 1, 1).unbind(1)
        steps = torch.arange(3, device=field.device)
        z, y, x = (corner[i] + steps.view([3 if i == j else 1 for j in range(3)]) for i in range(3))
    return field.movedim(1, -1)[item, z, y, x].movedim(-1, 1)


def tetrahedra_determinants(field: Tensor) -> Tensor:
    """Jacobian determinants of the ten tetrahedra at each interior voxel, each 1 for the identity.

    Args:
        field: `(B, 3, D, H, W)`, voxels, every size at least 3.

    Returns:
        `(B, 10, D-2, H-2, W-2)`, dimensionless.
    """
    # `jacobian_determinant` has the paper's scale, in which the central tetrahedra of the identity have 2.
    central = [jacobian_determinant(field, scheme)[:, None] / 2 for scheme in ("J*1", "J*2")]
    # The eight schemes of one-sided differences share their edges.
    a, b, c = (_one_sided_edges(field, axis) for axis in range(3))
    a0, a1, a2 = a[:, :, :, None, None].unbind(1)
    b0, b1, b2 = b[:, :, None, :, None].unbind(1)
    c0, c1, c2 = c[:, :, None, None, :].unbind(1)
    one_sided = a0 * (b1 * c2 - b2 * c1) + a1 * (b2 * c0 - b0 * c2) + a2 * (b0 * c1 - b1 * c0)
    return torch.cat([one_sided.flatten(1, 3), *central], dim=1)


def _one_sided_edges(field: Tensor, axis: int) -> Tensor:
    """Deformed edges along an axis that end and that begin at each interior voxel: `(B, 3, 2, D-2, H-2, W-2)`."""
    for other in {2, 3, 4} - {2 + axis}:
        field = field.narrow(other, 1, field.shape[other] - 2)
    edges = field.diff(dim=2 + axis)
    edges[:, axis] += 1
    # A view of both edges of each voxel: the second is the first of the next voxel.
    return edges.unfold(2 + axis, edges.shape[2 + axis] - 1, 1).movedim((2 + axis, -1), (2, 3 + axis)).contiguous()
