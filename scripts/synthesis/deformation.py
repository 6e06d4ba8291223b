# SPDX-License-Identifier: Apache-2.0
"""Random spatial transforms of label maps."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scripts.spatial import integrate, resize_field
from scripts.synthesis.corruption import smooth_noise, uniform

# The velocity is a sum of noise: width of each noise in voxels of the label map, and its weight.
_SCALES = ((64, 1.0), (32, 0.5), (16, 0.15))


def random_displacement(
    size: Sequence[int], spacing: int, largest: float, generator: torch.Generator, numbers: torch.Generator
) -> Tensor:
    """A random diffeomorphic displacement field, plus a random translation with a standard deviation of 1 voxel.

    Args:
        size: size of the field, `(D, H, W)`.
        spacing: voxel size of the field in voxels of the label map, from 1.
        largest: upper limit of the mean displacement of the field, which is drawn uniformly from 0, in voxels of the
            label map.
        generator: random generator of the device that computes, for volumes.
        numbers: random generator on the CPU, for single numbers; may be the same one.

    Returns:
        `(3, D, H, W)`, voxels of the label map.
    """
    quarter = [max(n // 4, 2) for n in size]
    velocity = torch.zeros(1, 3, *quarter, device=generator.device)
    for width, weight in _SCALES:
        velocity += weight * smooth_noise(quarter, width / (4 * spacing), 3, generator)[None]
    length = torch.linalg.vector_norm(velocity, dim=1).mean()
    velocity *= uniform(numbers, 0, largest) / (4 * spacing) / length
    field = resize_field(integrate(velocity), list(size))[0] * spacing
    return field + torch.randn((3, 1, 1, 1), generator=generator, device=generator.device)


def random_affine(generator: torch.Generator) -> Tensor:
    """A random matrix near the identity, `(3, 3)`: rotation, scale and shear that an affine alignment leaves.

    Args:
        generator: random generator of the device that computes.
    """
    device = generator.device
    return torch.eye(3, device=device) + 0.015 * torch.randn((3, 3), generator=generator, device=device)
