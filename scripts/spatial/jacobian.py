# SPDX-License-Identifier: Apache-2.0
"""Jacobian determinant of a displacement field."""

from torch import Tensor

# Schemes of the ten tetrahedra of the two decompositions of a voxel's cube (Liu et al., IJCV 2024): the eight corners,
# then the two central ones. A field is digitally diffeomorphic where all ten determinants are positive.
TETRAHEDRA = ("+++", "++-", "+-+", "+--", "-++", "-+-", "--+", "---", "J*1", "J*2")


def jacobian_determinant(field: Tensor, scheme: str = "central") -> Tensor:
    """Determinant of the Jacobian of `x -> x + field(x)` by finite differences.

    1 is no change of volume, 0 and below is folding. Central differences miss the folds of a checkerboard; the ten
    schemes in `TETRAHEDRA` together detect every fold (Liu et al., "On Finite Difference Jacobian Computation in
    Deformable Image Registration", IJCV 2024). Differentiable.

    Args:
        field: `(B, 3, D, H, W)`, any float dtype, in voxels; every spatial size at least 3.
        scheme: `central`; or a sign per array axis, `+` for the forward and `-` for the backward difference, such
            as `+-+`; or `J*1`, `J*2`, the central tetrahedra of the cubes below and above the voxel. Their
            determinants are six times the signed volume, as in the paper: 2 for the identity.

    Returns:
        `(B, D-2, H-2, W-2)` in the field's dtype, at the interior voxels, where every scheme is defined.

    Raises:
        ValueError: for another shape, an integer dtype, a size below 3, or an unknown scheme.
    """
    if field.dim() != 5 or field.shape[1] != 3 or not field.is_floating_point():
        raise ValueError(f"jacobian_determinant takes floats (B, 3, D, H, W), not {field.shape} {field.dtype}")
    if min(field.shape[2], field.shape[3], field.shape[4]) < 3:
        raise ValueError(f"jacobian_determinant needs 3 voxels along every axis, not {field.shape}")

    heads, tails = _edges(scheme)
    a = _deformed_edge(field, heads[0], tails[0])
    b = _deformed_edge(field, heads[1], tails[1])
    c = _deformed_edge(field, heads[2], tails[2])
    determinant = (
        a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
    # The three edges of the central scheme are two voxels long.
    return determinant / 8 if scheme == "central" else determinant


def _edges(scheme: str) -> tuple[list[list[int]], list[list[int]]]:
    """Heads and tails of the three edges that span the scheme's volume element, as offsets from the voxel."""
    heads = [[0, 0, 0], [0, 0, 0], [0, 0, 0]]
    tails = [[0, 0, 0], [0, 0, 0], [0, 0, 0]]
    if scheme == "J*1":
        return [[-1, -1, 0], [-1, 0, -1], [0, -1, -1]], tails
    if scheme == "J*2":
        return [[1, 1, 0], [0, 1, 1], [1, 0, 1]], tails
    if scheme != "central" and (len(scheme) != 3 or scheme.count("+") + scheme.count("-") != 3):
        raise ValueError(f"scheme is central, J*1, J*2 or three signs such as +-+, not {scheme}")
    for axis in range(3):
        if scheme == "central" or scheme[axis] == "+":
            heads[axis][axis] = 1
        if scheme == "central" or scheme[axis] == "-":
            tails[axis][axis] = -1
    return heads, tails


def _deformed_edge(field: Tensor, head: list[int], tail: list[int]) -> list[Tensor]:
    """The vector from `tail` to `head` after the deformation: three components `(B, D-2, H-2, W-2)`."""
    # The offsets are added to the difference of displacements: positions have fewer exact digits.
    difference = (_shifted_interior(field, head) - _shifted_interior(field, tail)).unbind(1)
    return [difference[axis] + (head[axis] - tail[axis]) for axis in range(3)]


def _shifted_interior(field: Tensor, shift: list[int]) -> Tensor:
    depth, height, width = field.shape[2] - 2, field.shape[3] - 2, field.shape[4] - 2
    z, y, x = 1 + shift[0], 1 + shift[1], 1 + shift[2]
    return field[:, :, z : z + depth, y : y + height, x : x + width]
