"""Refinement of a predicted field on the pair itself: a few steps of instance optimization, on the CPU or a GPU."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from scripts.losses import LNCCLoss, SmoothnessLoss
from scripts.metrics import lncc
from scripts.registration.pair import PredictedPair, advanced
from scripts.runtime import InputError, timed
from scripts.spatial import bounded_spline, compose, jacobian_determinant, resize_field, warp
from scripts.spatial.jacobian import TETRAHEDRA

# Coarse to fine: the image's size over that of the grid, knots of the updates in voxels of that grid, and the share of
# the steps that are done when the level is. At full size a step takes eight times as long as at half the size.
LEVELS = ((2, 2, 0.4), (2, 1, 0.8), (1, 2, 0.9), (1, 1, 1.0))
LEAST_SIZE = 8  # voxels along an axis, below which it is not divided
ROUND = 25  # steps at most on one update, which moves by no more than BOUND of its knots' distance
BOUND = 0.4  # see `bounded_spline`
LEARNING_RATE = 0.15
# Of the field, and of its departure from the one given: where ventricles differ much in width, similarity alone loses
# what the network had found.
SMOOTHNESS_WEIGHT, DEPARTURE_WEIGHT = 1.0, 3.0
# Tetrahedra are kept above this volume (the identity's is 1; 2 for the central two): halfway between the voxels of the
# grid the field may be steeper than at them.
LEAST_VOLUME, VOLUME_WEIGHT = 0.2, 100.0


class Refinement(NamedTuple):
    """A refined field.

    Attributes:
        field: `(1, 3, D, H, W)`, voxels of the fixed grid.
        similarity_before, similarity_after: LNCC at the image's own size, in [0, 1].
    """

    field: Tensor
    similarity_before: float
    similarity_after: float


def read_steps(steps: int | str) -> int:
    """What the option `--refine` says.

    Raises:
        InputError: if it is no whole number from 0.
    """
    if not str(steps).isdecimal():
        raise InputError(f"--refine {steps}: want a whole number of steps, 0 for no refinement")
    return int(steps)


def refine_pair(pair: PredictedPair, steps: int, device: torch.device | str) -> PredictedPair:
    """Refine the field of a pair: see `refine`.

    Args:
        pair: images and field.
        steps: steps of the optimization; 0 leaves the pair as it is.
        device: device that computes.
    """
    if steps == 0:
        return pair
    timings = dict(pair.timings)
    with timed(timings, "refine"):
        image = torch.from_numpy(pair.image)[None].to(device)
        field, before, after = refine(image, pair.field[None].to(device), steps)
    refinement = {"steps": steps, "lncc_before": before, "lncc_after": after, "gain": after - before}
    return advanced(PredictedPair, pair, field=field[0].cpu(), refinement=refinement, timings=timings)


def refine(image: Tensor, field: Tensor, steps: int) -> Refinement:
    """Improve a field by gradient descent on this one pair (Balakrishnan et al., TMI 2019, call it instance-specific).

    Composes it with updates, bounded splines first of wide knots, then of narrow ones, that minimize LNCC + smoothness
    of the whole field and of its departure from the one given + lack of volume of its tetrahedra: on images and fields
    of half the size, at last on whole ones. The result is used only as far as it is better: where it is no more similar
    than the field given, or folds at more voxels, half of the change is tried, then a quarter and an eighth, and at
    last the field comes back as it was.

    Args:
        image: `(1, 2, D, H, W)` in [0, 1], fixed and moving, every size at least 3.
        field: `(1, 3, D, H, W)`, voxels of the fixed grid.
        steps: of the optimisation, over all rounds.

    Returns:
        A field that is at least as similar and folds at no more voxels, by any of the ten tetrahedra.
    """
    before, folds = lncc(image[0], field[0]).item(), _count_folded(field)
    refined = _optimize(image, field, steps)
    for shrink in (1.0, 0.5, 0.25, 0.125):
        candidate = torch.lerp(field, refined, shrink)
        after = lncc(image[0], candidate[0]).item()
        # Comparisons with NaN are false.
        if after > before and _count_folded(candidate) <= folds:
            return Refinement(candidate, before, after)
    return Refinement(field, before, before)


def _optimize(image: Tensor, field: Tensor, steps: int) -> Tensor:
    """Optimize level by level; what only a finer grid than a level's can hold of the field stays."""
    done, given = 0, field
    for factor, knots, share in LEVELS:
        size = [max(n // factor, min(n, LEAST_SIZE)) for n in image.shape[2:]]
        small = interpolate(image, size=size, mode="area")
        origin, start = resize_field(given, size), resize_field(field, size)
        current = start
        while (count := min(ROUND, round(share * steps) - done)) > 0:
            current, done = _updated(small, current, origin, knots, count), done + count
        field = field + resize_field(current - start, list(field.shape[2:]))
    return field


@torch.enable_grad()
def _updated(image: Tensor, field: Tensor, origin: Tensor, knots: int, steps: int) -> Tensor:
    """The field after some steps on one update; `origin` is what it may depart from, at a price."""
    fixed, moving = image.split(1, dim=1)
    size = list(image.shape[2:])
    coefficients = field.new_zeros((1, 3, *(max(n // knots, 1) for n in size)), requires_grad=True)
    similarity, smoothness = LNCCLoss(), SmoothnessLoss()
    optimizer = torch.optim.Adam([coefficients], lr=LEARNING_RATE, eps=0.01)

    def composed() -> Tensor:
        return compose(field, resize_field(BOUND * bounded_spline(coefficients), size))

    for step in range(steps):
        current = composed()
        # One of the ten at a time: together they would take longer than all the rest.
        volume = jacobian_determinant(current, TETRAHEDRA[step % len(TETRAHEDRA)])
        lack = (LEAST_VOLUME - volume).relu().mean()
        rough = SMOOTHNESS_WEIGHT * smoothness(current) + DEPARTURE_WEIGHT * smoothness(current - origin)
        loss = similarity(warp(moving, current), fixed) + rough + VOLUME_WEIGHT * lack
        optimizer.zero_grad()
        # Summed over the voxels: Adam makes full steps of whatever is not next to zero, which a mean always is.
        (loss * fixed.numel()).backward()
        optimizer.step()
    with torch.no_grad():
        return composed()


def _count_folded(field: Tensor) -> Tensor:
    """Voxels with a tetrahedron of no volume or less, of those that are not at the grid's faces."""
    folded = torch.stack([jacobian_determinant(field, scheme) <= 0 for scheme in TETRAHEDRA])
    return folded.any(dim=0).sum()
