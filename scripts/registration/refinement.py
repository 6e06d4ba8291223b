# SPDX-License-Identifier: Apache-2.0
"""Refinement of a predicted field on the pair itself: a few steps of instance optimization, on the CPU or a GPU."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from scripts.losses import LNCCLoss, SmoothnessLoss
from scripts.metrics import lncc
from scripts.registration.pair import PredictedPair, advanced
from scripts.runtime import timed
from scripts.spatial import bounded_spline, compose, jacobian_determinant, resize_field, warp
from scripts.spatial.jacobian import TETRAHEDRA

# Coarse to fine, for each level: size of the image divided by that of the level's grid, distance of the update's knots
# in voxels of that grid, and the fraction of all steps that are done at the end of the level. A step at full size takes
# eight times as long as one at half the size.
LEVELS = ((2, 2, 0.4), (2, 1, 0.8), (1, 2, 0.9), (1, 1, 1.0))
LEAST_SIZE = 8  # voxels: an axis is not reduced below this size
ROUND = 25  # maximum number of steps on one update
BOUND = 0.4  # largest displacement of an update, in distances of its knots, see `bounded_spline`
LEARNING_RATE = 0.15
# Weights of the smoothness of the field, and of its difference from the given one. Without the latter, similarity alone
# makes the network's result worse where ventricles differ much in width.
SMOOTHNESS_WEIGHT, DEPARTURE_WEIGHT = 1.0, 3.0
# Tetrahedra with less than this volume are penalized (the identity has 1, its central two 2). It is above 0 because
# between the voxels of the grid the field may be steeper than at them.
LEAST_VOLUME, VOLUME_WEIGHT = 0.2, 100.0


class Refinement(NamedTuple):
    """A refined field.

    Attributes:
        field: `(1, 3, D, H, W)`, voxels of the fixed grid.
        similarity_before, similarity_after: LNCC at full size, in [0, 1].
    """

    field: Tensor
    similarity_before: float
    similarity_after: float


def refine_pair(pair: PredictedPair, steps: int, device: torch.device | str) -> PredictedPair:
    """Refine the field of a pair: see `refine`.

    Args:
        pair: pair with images and field.
        steps: number of steps, from 0; with 0 the pair is returned unchanged.
        device: device that computes.
    """
    if steps == 0:
        return pair
    timings = dict(pair.timings)
    with timed(timings, "refine"):
        image = torch.from_numpy(pair.seen)[None].to(device)
        field, before, after = refine(image, pair.field[None].to(device), steps)
    refinement = {"steps": steps, "lncc_before": before, "lncc_after": after, "gain": after - before}
    return advanced(PredictedPair, pair, field=field[0].cpu(), refinement=refinement, timings=timings)


def refine(image: Tensor, field: Tensor, steps: int) -> Refinement:
    """Improve a field by gradient descent on one pair (instance-specific optimization, Balakrishnan et al., TMI 2019).

    The field is composed with updates, bounded splines whose knots become denser. They minimize the LNCC loss, the
    smoothness loss of the whole field and of its difference from the given one, and a penalty on tetrahedra with little
    volume, first at half the size, then at full size. The result is accepted if its LNCC is higher and it folds at no
    more voxels. Otherwise a half, a quarter and an eighth of the change are tried, and at last the given field is
    returned.

    Args:
        image: fixed and moving image, `(1, 2, D, H, W)` in [0, 1], every size at least 3.
        field: displacement field, `(1, 3, D, H, W)`, voxels of the fixed grid.
        steps: number of steps over all levels, from 0.

    Returns:
        A field whose LNCC is at least that of the given one, and that folds at no more voxels, by the ten tetrahedra.
    """
    before, folds = lncc(image[0], field[0]).item(), _count_folded(field)
    refined = _optimize(image, field, steps)
    for fraction in (1.0, 0.5, 0.25, 0.125):
        candidate = torch.lerp(field, refined, fraction)
        after = lncc(image[0], candidate[0]).item()
        # Comparisons with NaN are false.
        if after > before and _count_folded(candidate) <= folds:
            return Refinement(candidate, before, after)
    return Refinement(field, before, before)


def _optimize(image: Tensor, field: Tensor, steps: int) -> Tensor:
    """Optimize level by level; details of the field that are finer than the level's grid are kept."""
    done, given = 0, field
    for factor, knots, fraction in LEVELS:
        size = [max(n // factor, min(n, LEAST_SIZE)) for n in image.shape[2:]]
        small = interpolate(image, size=size, mode="area")
        origin, start = resize_field(given, size), resize_field(field, size)
        current = start
        while (count := min(ROUND, round(fraction * steps) - done)) > 0:
            current, done = _updated(small, current, origin, knots, count), done + count
        field = field + resize_field(current - start, list(field.shape[2:]))
    return field


@torch.enable_grad()
def _updated(image: Tensor, field: Tensor, origin: Tensor, knots: int, steps: int) -> Tensor:
    """The field after some steps on one update; its difference from `origin` is penalized."""
    fixed, moving = image.split(1, dim=1)
    size = list(image.shape[2:])
    coefficients = field.new_zeros((1, 3, *(max(n // knots, 1) for n in size)), requires_grad=True)
    similarity, smoothness = LNCCLoss(), SmoothnessLoss()
    optimizer = torch.optim.Adam([coefficients], lr=LEARNING_RATE, eps=0.01)

    def composed() -> Tensor:
        return compose(field, resize_field(BOUND * bounded_spline(coefficients), size))

    for step in range(steps):
        current = composed()
        # One of the ten tetrahedra in each step: all ten would take longer than the rest of the step.
        volume = jacobian_determinant(current, TETRAHEDRA[step % len(TETRAHEDRA)])
        lack = (LEAST_VOLUME - volume).relu().mean()
        rough = SMOOTHNESS_WEIGHT * smoothness(current) + DEPARTURE_WEIGHT * smoothness(current - origin)
        loss = similarity(warp(moving, current), fixed) + rough + VOLUME_WEIGHT * lack
        optimizer.zero_grad()
        # The sum over the voxels: the gradient of a mean is so small that Adam's eps would shorten the steps.
        (loss * fixed.numel()).backward()
        optimizer.step()
    with torch.no_grad():
        return composed()


def _count_folded(field: Tensor) -> Tensor:
    """Number of voxels with a tetrahedron of zero or negative volume, without those at the grid's faces."""
    folded = torch.stack([jacobian_determinant(field, scheme) <= 0 for scheme in TETRAHEDRA])
    return folded.any(dim=0).sum()
