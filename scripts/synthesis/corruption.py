"""What scanners do to a scan: texture, blur, bias field, noise, loss of resolution, missing slices, gamma."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

_SAMPLE = 200_000  # voxels that percentiles are taken from


def corrupt(scan: Tensor, generator: torch.Generator, numbers: torch.Generator) -> Tensor:
    """Make a clean scan look like one of a scanner, scaled as `scripts.datasets.scale_intensity` would.

    Nothing here waits for a GPU.

    Args:
        scan: `(1, D, H, W)`, at least 0, background 0.
        generator: of the scan's device, for volumes.
        numbers: a generator of the CPU, for single numbers; it may be the same one.

    Returns:
        `(1, D, H, W)` in [0, 1], background 0.
    """
    size = list(scan.shape[1:])
    foreground = scan > 0

    draw = partial(uniform, numbers)
    # Texture: grain of two widths, in voxels.
    for width in (2.0, 8.0):
        scan = scan * (1 + draw(0, 0.07) * smooth_noise(size, width, 1, generator))
    if draw(0, 1) < 0.5:
        scan = avg_pool3d(scan, 3, stride=1, padding=1) * (share := draw(0, 1)) + scan * (1 - share)
    if draw(0, 1) < 0.3:
        scan = _lose_resolution(scan, int(draw(0, 3)), draw(1.5, 4.0))
    scan = scan * torch.exp(draw(0, 0.3) * smooth_noise(size, max(size) / 3, 1, generator))
    noise = torch.randn(scan.shape, generator=generator, device=scan.device)
    scan = (scan + draw(0, 0.22) ** 2 * noise).clamp(min=0) * foreground
    if draw(0, 1) < 0.1:
        scan = _lose_border(scan, int(draw(0, 6)), draw(0, 0.2))
    return _bright_end(scan) ** draw(0.75, 1.35)


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """A number between two others, of a generator of the CPU: to wait for one of a GPU would stop the training."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def smooth_noise(size: Sequence[int], width: float, channels: int, generator: torch.Generator) -> Tensor:
    """Noise of zero mean and a standard deviation of about 1, smooth at a width in voxels, `(channels, D, H, W)`."""
    coarse = [max(round(n / width), 1) + 1 for n in size]
    noise = torch.randn((1, channels, *coarse), generator=generator, device=generator.device)
    # Between its knots linear interpolation halves the variance along each axis, about.
    return 1.7 * interpolate(noise, size=list(size), mode="trilinear", align_corners=True)[0]


def _lose_resolution(scan: Tensor, axis: int, factor: float) -> Tensor:
    """Slices `factor` times as thick along one axis, interpolated back."""
    size = list(scan.shape[1:])
    thick = list(size)
    thick[axis] = max(round(size[axis] / factor), 2)
    slices = interpolate(scan[None], size=thick, mode="area")
    return interpolate(slices, size=size, mode="trilinear", align_corners=False)[0]


def _lose_border(scan: Tensor, face: int, share: float) -> Tensor:
    """Nothing beyond a share of the volume at one of its six faces."""
    axis, at_end = face % 3 + 1, face >= 3
    count = int(share * scan.shape[axis])
    scan = scan.clone()
    scan.narrow(axis, scan.shape[axis] - count if at_end else 0, count).zero_()
    return scan


def _bright_end(scan: Tensor) -> Tensor:
    """Divide by the 99.5th percentile of the foreground, clip to [0, 1]."""
    values = scan.flatten()
    # In a sample of fixed size: how many voxels are foreground is known to the device only.
    values = values[:: max(len(values) // _SAMPLE, 1)].sort(descending=True).values
    brighter = ((values > 0).sum() * 0.005).long()
    return (scan / values.gather(0, brighter[None]).clamp(min=torch.finfo(scan.dtype).tiny)).clamp(max=1)
