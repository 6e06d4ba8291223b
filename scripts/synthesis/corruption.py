# SPDX-License-Identifier: Apache-2.0
"""Random artifacts of a scan: texture, blur, low resolution, bias field, noise, missing slices, gamma."""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from scripts.synthesis.randomness import smooth_noise, uniform

_SAMPLE = 200_000  # number of voxels from which the percentile is computed


def corrupt(scan: Tensor, generator: torch.Generator, numbers: torch.Generator) -> Tensor:
    """Add random artifacts to a scan, and scale it as `scripts.datasets.scale_intensity` does.

    No operation waits for a GPU.

    Args:
        scan: `(1, D, H, W)`, from 0, background 0.
        generator: random generator of the scan's device, for volumes.
        numbers: random generator on the CPU, for single numbers; may be the same one.

    Returns:
        `(1, D, H, W)` in [0, 1], background 0.
    """
    size = list(scan.shape[1:])
    foreground = scan > 0

    draw = partial(uniform, numbers)
    # Texture: noise of two widths, in voxels.
    for width in (2.0, 8.0):
        scan = scan * (1 + draw(0, 0.07) * smooth_noise(size, width, 1, generator))
    if draw(0, 1) < 0.5:
        scan = avg_pool3d(scan, 3, stride=1, padding=1) * (share := draw(0, 1)) + scan * (1 - share)
    if draw(0, 1) < 0.3:
        scan = _lower_resolution(scan, int(draw(0, 3)), draw(1.5, 4.0))
    scan = scan * torch.exp(draw(0, 0.3) * smooth_noise(size, max(size) / 3, 1, generator))
    noise = torch.randn(scan.shape, generator=generator, device=scan.device)
    scan = (scan + draw(0, 0.22) ** 2 * noise).clamp(min=0) * foreground
    if draw(0, 1) < 0.1:
        scan = _remove_slices(scan, int(draw(0, 6)), draw(0, 0.2))
    return _scale_to_percentile(scan) ** draw(0.75, 1.35)


def _lower_resolution(scan: Tensor, axis: int, factor: float) -> Tensor:
    """Average to slices `factor` times as thick along one axis, and interpolate to the original size."""
    size = list(scan.shape[1:])
    thick = list(size)
    thick[axis] = max(round(size[axis] / factor), 2)
    slices = interpolate(scan[None], size=thick, mode="area")
    return interpolate(slices, size=size, mode="trilinear", align_corners=False)[0]


def _remove_slices(scan: Tensor, face: int, share: float) -> Tensor:
    """Set a share of the volume at one of its six faces to 0."""
    axis, at_end = face % 3 + 1, face >= 3
    count = int(share * scan.shape[axis])
    scan = scan.clone()
    scan.narrow(axis, scan.shape[axis] - count if at_end else 0, count).zero_()
    return scan


def _scale_to_percentile(scan: Tensor) -> Tensor:
    """Divide by the 99.5th percentile of the foreground, clip to [0, 1]."""
    values = scan.flatten()
    # A sample of fixed size, because only the device knows the number of foreground voxels.
    values = values[:: max(len(values) // _SAMPLE, 1)].sort(descending=True).values
    brighter = ((values > 0).sum() * 0.005).long()
    return (scan / values.gather(0, brighter[None]).clamp(min=torch.finfo(scan.dtype).tiny)).clamp(max=1)
