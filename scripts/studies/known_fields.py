# SPDX-License-Identifier: Apache-2.0
"""Smooth diffeomorphic fields of a given mean length, with their inverses: the truth for registrations."""

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from scripts.metrics import non_diffeomorphic_volume
from scripts.spatial import compose, integrate, resize_field
from scripts.synthesis.randomness import smooth_noise

_WIDTH = 0.5  # distance of independent values of the velocity, as a share of the image's mean size
_STEPS = 8  # squarings: the first step of a flow of 80 voxels is a third of a voxel


class KnownField(NamedTuple):
    """A field and its inverse, voxels.

    Attributes:
        field: points of the fixed to points of the moving scan, `(1, 3, D, H, W)`.
        inverse: points of the moving to points of the fixed scan, the same shape.
    """

    field: Tensor
    inverse: Tensor


def known_field(brain: Tensor, length_mm: float, spacing: Sequence[float], seed: int) -> KnownField:
    """The flow of a smooth random velocity field, which vanishes at the border of the image.

    The velocity of one seed is the same for all lengths but for its magnitude. A field that folds anywhere, by the
    volumes of its tetrahedra, is drawn again.

    Args:
        brain: mask of the fixed brain, `(D, H, W)` bool.
        length_mm: mean length of the field inside the brain, mm.
        spacing: voxel size, mm.
        seed: seed of the velocity, from 0.
    """
    for attempt in count():
        velocity = _velocity(list(brain.shape), torch.Generator().manual_seed(1000 * seed + attempt))
        scale = _scale(velocity, brain, length_mm, spacing)
        velocity = resize_field(scale * velocity, list(brain.shape))
        known = KnownField(integrate(velocity, _STEPS), integrate(-velocity, _STEPS))
        if not any(float(non_diffeomorphic_volume(field[0], torch.ones_like(brain))) for field in known):
            return known
    raise AssertionError("unreachable")


def lengths_mm(field: Tensor, brain: Tensor, spacing: Sequence[float]) -> Tensor:
    """Lengths of a field's vectors inside the brain, `(N,)`, mm.

    Args:
        field: `(1, 3, D, H, W)`, voxels.
        brain: `(D, H, W)` bool.
        spacing: voxel size, mm.
    """
    return torch.linalg.vector_norm(field[0, :, brain] * torch.tensor(spacing, dtype=field.dtype)[:, None], dim=0)


def remainder_mm(known: KnownField, brain: Tensor, spacing: Sequence[float]) -> float:
    """Mean distance, mm, of points of the brain from themselves after field and inverse: how exact the truth is."""
    return float(lengths_mm(compose(known.inverse, known.field), brain, spacing).mean())


def _velocity(size: list[int], generator: torch.Generator) -> Tensor:
    """Velocity of half resolution, `(1, 3, D/2, H/2, W/2)`, of any magnitude."""
    half = [max(n // 2, 2) for n in size]
    width = _WIDTH * sum(half) / 3
    noise = smooth_noise(half, width, 3, generator).numpy()
    velocity = torch.from_numpy(np.stack([gaussian_filter(component, width / 6) for component in noise]))[None]
    for axis, n in enumerate(half):
        window = torch.sin(torch.pi * (torch.arange(n) + 0.5) / n)
        velocity *= window.view([-1 if place == axis + 2 else 1 for place in range(5)])
    return velocity


def _scale(velocity: Tensor, brain: Tensor, length_mm: float, spacing: Sequence[float]) -> float:
    """Factor of the velocity with which its flow has the mean length, within a percent or so."""
    small = resize_field(brain[None, None].float().expand(1, 3, *brain.shape), list(velocity.shape[2:]))[0, 0] > 0.25
    coarse = [length * n / m for length, n, m in zip(spacing, brain.shape, velocity.shape[2:], strict=True)]
    scale = length_mm / float(lengths_mm(velocity, small, coarse).mean())
    for _ in range(4):  # the length of the flow is nearly proportional to that of the velocity
        scale *= length_mm / float(lengths_mm(integrate(scale * velocity, _STEPS), small, coarse).mean())
    return scale
