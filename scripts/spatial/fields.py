# SPDX-License-Identifier: Apache-2.0
"""Operations on displacement fields: resize, compose, integrate, and the bounded B-spline of residuals."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from scripts.spatial.compiled import CompiledIntegration
from scripts.spatial.dispatch import captures_graph, records_gradient, uses_kernels
from scripts.spatial.gradients import SelfAdjoint
from scripts.spatial.resize import resize
from scripts.spatial.warp import warp


def resize_field(field: Tensor, size: list[int]) -> Tensor:
    """Resample a field to another grid over the same extent, and rescale it to that grid's voxels.

    Both grids fill the same box (voxel centers at `(i + 0.5) / n`), so a doubled size doubles the displacement
    exactly, and the pooled images of a pyramid stay aligned with their fields.

    Args:
        field: `(B, 3, D, H, W)`, voxels.
        size: new size, `[D', H', W']`.

    Returns:
        `(B, 3, D', H', W')`, voxels of the new grid; the input itself if it has that size already.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
        if list(field.shape[2:]) == size and not captures_graph():
            return field
    factors = [size[i] / field.shape[2 + i] for i in range(3)]
    if factors[0] == factors[1] and factors[1] == factors[2]:
        scaled = field * factors[0]
    else:
        # Axis by axis: a tensor of these factors would be a constant of an exported graph, for any size.
        components = field.unbind(1)
        scaled = torch.stack([components[i] * factors[i] for i in range(3)], dim=1)
    return resize(scaled, size)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Field of `x -> y + outer(y)` with `y = x + inner(x)`.

    Warping by the result equals warping by `outer`, then warping the result by `inner`:
    `warp(image, compose(outer, inner)) = warp(warp(image, outer), inner)`.

    Args:
        outer: `(B, 3, D, H, W)`, voxels.
        inner: the same shape and unit.

    Returns:
        `(B, 3, D, H, W)`, voxels.
    """
    return inner + warp(outer, inner)


def integrate(velocity: Tensor, steps: int = 7) -> Tensor:
    """Flow of a stationary velocity field at time 1, by scaling and squaring (Arsigny et al., MICCAI 2006).

    Args:
        velocity: `(B, 3, D, H, W)`, voxels per unit of time.
        steps: number of squarings, from 0.

    Returns:
        The displacement field, `(B, 3, D, H, W)`, voxels; `integrate(-velocity)` is its inverse.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
        if uses_kernels(velocity):
            return CompiledIntegration.apply(velocity, steps)
    field = velocity / 2.0**steps
    for _ in range(steps):
        field = compose(field, field)
    return field


def bounded_spline(coefficients: Tensor) -> Tensor:
    """Cubic B-spline with one knot per voxel and coefficients bounded by `tanh`.

    A scale corrects at most one of its own voxels, as its features depend on few voxels around, and steep or rough
    updates would fold. Taken as a displacement, 0.4 times a bounded spline has no fold between its knots (Choi & Lee,
    Graphical Models 2000: 1 / 2.48 of the distance of knots); linear interpolation of its values at the voxels may
    have few.

    Args:
        coefficients: `(B, 3, D, H, W)`, any values; beyond the border the outermost are repeated.

    Returns:
        The spline at its knots, `(B, 3, D, H, W)`, in [-1, 1].
    """
    bounded = coefficients.tanh()
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript does not compile this branch)
        if records_gradient():
            return SelfAdjoint.apply(_spline, bounded)
    return _spline(bounded)


def _spline(coefficients: Tensor) -> Tensor:
    # Self-adjoint: along each axis a symmetric matrix of 1, 4, 1, with 5 instead of 4 at both ends.
    spline = pad(coefficients, [1, 1, 1, 1, 1, 1], mode="replicate")
    # Not a convolution, which autocast would run in half precision.
    for axis in (2, 3, 4):
        size = spline.shape[axis] - 2
        neighbors = spline.narrow(axis, 0, size) + spline.narrow(axis, 2, size)
        spline = neighbors.add_(spline.narrow(axis, 1, size), alpha=4)
    return spline / 6**3
