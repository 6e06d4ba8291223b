"""Operations on displacement fields: resize, compose, integrate, invert, make of spline coefficients."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from scripts.spatial.compiled import CompiledFlow
from scripts.spatial.gradients import SelfAdjoint
from scripts.spatial.resize import resize
from scripts.spatial.warp import is_compiled, is_made_a_graph, is_trained, warp


def resize_field(field: Tensor, size: list[int]) -> Tensor:
    """Resample a field to another grid over the same extent, and rescale it to that grid's voxels.

    Both grids fill the same box (voxel centres at `(i + 0.5) / n`), so a doubled size doubles the displacement
    exactly, and the pooled images of a pyramid stay aligned with their fields.

    Args:
        field: `(B, 3, D, H, W)`, voxels.
        size: the new `(D', H', W')`.

    Returns:
        `(B, 3, D', H', W')`, voxels of the new grid; the field itself where its size is that already.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript skips what is in it, unread)
        if list(field.shape[2:]) == size and not is_made_a_graph():
            return field
    factors = [size[i] / field.shape[2 + i] for i in range(3)]
    if factors[0] == factors[1] and factors[1] == factors[2]:
        scaled = field * factors[0]
    else:
        # Axis by axis: a tensor of these factors would be a constant of an exported graph, whatever the size.
        along = field.unbind(1)
        scaled = torch.stack([along[i] * factors[i] for i in range(3)], dim=1)
    return resize(scaled, size)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Field of `x -> y + outer(y)` with `y = x + inner(x)`.

    Warping by the result is warping by `outer` first, then its result by `inner`:
    `warp(image, compose(outer, inner)) = warp(warp(image, outer), inner)`.

    Args:
        outer: `(B, 3, D, H, W)`, voxels.
        inner: the same shape.

    Returns:
        `(B, 3, D, H, W)`, voxels.
    """
    return inner + warp(outer, inner)


def integrate(velocity: Tensor, steps: int = 7) -> Tensor:
    """Flow of a stationary velocity field at time 1, by scaling and squaring (Arsigny et al., MICCAI 2006).

    Args:
        velocity: `(B, 3, D, H, W)`, voxels per unit of time.
        steps: number of squarings.

    Returns:
        The displacement field, `(B, 3, D, H, W)`, voxels; `integrate(-velocity)` is its inverse.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript skips what is in it, unread)
        if is_compiled(velocity):
            return CompiledFlow.apply(velocity, steps)
    field = velocity / 2.0**steps
    for _ in range(steps):
        field = compose(field, field)
    return field


def invert(field: Tensor, iterations: int = 30) -> Tensor:
    """Inverse of a field by fixed-point iteration, `v <- -field(x + v)` (Chen et al., Medical Physics 2008).

    Converges where the field is a contraction (all its derivatives well below 1); elsewhere it damps nothing, so
    check `compose(field, inverse)`.

    Args:
        field: `(B, 3, D, H, W)`, voxels.
        iterations: number of updates.

    Returns:
        `(B, 3, D, H, W)`, voxels, with `compose(field, inverse)` close to zero.
    """
    inverse = -field
    for _ in range(iterations):
        inverse = -warp(field, inverse)
    return inverse


def bounded_spline(coefficients: Tensor) -> Tensor:
    """Cubic B-spline with one knot per voxel, of coefficients that `tanh` bounds.

    A scale corrects at most one voxel of its own, as its features see little further. Steep or rough updates would
    fold. As a displacement, 0.4 times a bounded spline has no fold between its knots (Choi & Lee, Graphical Models
    2000: 1 / 2.48 of a knot's distance); its samples on a grid, interpolated, may have few.

    Args:
        coefficients: `(B, 3, D, H, W)`, any values; beyond the border the outermost go on.

    Returns:
        The spline at its knots, `(B, 3, D, H, W)`, in [-1, 1].
    """
    bounded = coefficients.tanh()
    if not torch.jit.is_scripting():  # noqa: SIM102 (TorchScript skips what is in it, unread)
        if is_trained():
            return SelfAdjoint.apply(_spline, bounded)
    return _spline(bounded)


def _spline(coefficients: Tensor) -> Tensor:
    # Its own transpose: along each axis a symmetric matrix of 1, 4, 1, with 5 instead of 4 at both ends.
    spline = pad(coefficients, [1, 1, 1, 1, 1, 1], mode="replicate")
    # Not a convolution, which autocast would run in half precision.
    for axis in (2, 3, 4):
        size = spline.shape[axis] - 2
        sides = spline.narrow(axis, 0, size) + spline.narrow(axis, 2, size)
        spline = sides.add_(spline.narrow(axis, 1, size), alpha=4)
    return spline / 6**3
