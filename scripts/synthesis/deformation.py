# SPDX-License-Identifier: Apache-2.0
"""Random spatial transforms of label maps and scans."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, grid_sample

from scripts.spatial import integrate, resize_field
from scripts.synthesis.randomness import smooth_noise, uniform

# The velocity is a sum of noise: width of each noise in voxels of the label map, and its weight.
_SCALES = ((64, 1.0), (32, 0.5), (16, 0.15))
_LARGEST_DISPLACEMENT = 3.0  # voxels of the map, largest mean displacement of a scan


def random_box(
    source: Sequence[int], spacing: int, size: Sequence[int] | None, multiple: int, numbers: torch.Generator
) -> tuple[list[int], list[int]]:
    """Size and first voxel of a scan that shows a random box of a map.

    Args:
        source: size of the map, voxels.
        spacing: voxel size of the scan in voxels of the map, from 1.
        size: size of the scan, `(D, H, W)`; None for the whole map, rounded up to the multiple.
        multiple: number of voxels, from 1.
        numbers: random generator on the CPU.
    """
    whole = [-(-n // (multiple * spacing)) * multiple for n in source]
    chosen = whole if size is None else list(size)
    return chosen, [int(uniform(numbers, 0, n - m + 1)) for n, m in zip(whole, chosen, strict=True)]


def random_positions(
    size: Sequence[int],
    corner: Sequence[int],
    spacing: int,
    source: Sequence[int],
    flipped: bool,
    generator: torch.Generator,
    numbers: torch.Generator,
) -> Tensor:
    """Position of each voxel of a deformed scan in the map that it is made of.

    Args:
        size: size of the scan, `(D, H, W)`.
        corner: its first voxel in the whole scan of that voxel size.
        spacing: its voxel size in voxels of the map, from 1.
        source: size of the map, voxels.
        flipped: whether left and right are exchanged.
        generator: random generator of the device that computes, for volumes.
        numbers: random generator on the CPU, for single numbers; may be the same one.

    Returns:
        `(3, D, H, W)`, voxels of the map.
    """
    # Relative to the center of the map, in its voxels.
    axes = [
        (torch.arange(n, device=generator.device) + start + 0.5) * spacing - m / 2
        for n, start, m in zip(size, corner, source, strict=True)
    ]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    displacement = random_displacement(size, spacing, _LARGEST_DISPLACEMENT, generator, numbers)
    moved = (grid + displacement).flatten(1)
    if flipped:
        moved[0] = -moved[0]
    moved = (random_affine(generator) @ moved).view(3, *size)
    return torch.stack([along + (m - 1) / 2 for along, m in zip(moved, source, strict=True)])


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


def averaged(image: Tensor, spacing: int) -> Tensor:
    """An image at larger voxels. Where its size is no multiple of them, the last ones average the voxels that exist.

    Args:
        image: `(C, X, Y, Z)`.
        spacing: new voxel size in voxels of the image, from 1.
    """
    return avg_pool3d(image, spacing, ceil_mode=True) if spacing > 1 else image


def sampled(image: Tensor, positions: Tensor, spacing: int = 1, mode: str = "bilinear") -> Tensor:
    """Values of an image at positions in a label map.

    Args:
        image: `(C, ...)`, whose first corner is that of the map.
        positions: `(3, D, H, W)`, voxels of the map.
        spacing: voxel size of the image in voxels of the map, from 1.
        mode: interpolation, `bilinear` (of volumes: trilinear) or `nearest`.

    Returns:
        `(C, D, H, W)`; 0 outside the image.
    """
    extent = [spacing * n for n in image.shape[1:]]
    along = [(2 * position + 1) / size - 1 for position, size in zip(positions, extent, strict=True)]
    grid = torch.stack(along[::-1], dim=-1)
    return grid_sample(image[None], grid[None], mode=mode, padding_mode="zeros", align_corners=False)[0]
