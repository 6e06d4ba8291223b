# SPDX-License-Identifier: Apache-2.0
"""Local normalized cross-correlation."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, pad

from scripts.kernels import call
from scripts.spatial import SelfAdjoint, uses_kernels

# Variance below which a window counts as constant; that of the whole standardized image is 1.
_FLAT = 1e-4


class LNCCLoss(nn.Module):
    """Negative squared normalized cross-correlation in a sliding box (Avants et al., MedIA 2008), in [-1, 0].

    Averaged over the foreground of each image, the windows in which the target is not constant, so that the empty space
    around a brain has no influence; then over the batch. Invariant to linear changes of either image's intensities.
    Computed in float32 (float64 for float64 inputs), also under autocast: variances are differences of large sums.

    Args:
        window: width of the box in voxels, odd, from 1; the box is cropped at the image's border.

    Raises:
        ValueError: for an even or non-positive window.
    """

    def __init__(self, window: int = 9) -> None:
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise ValueError(f"window is a positive odd number, not {window}")
        self.window = window

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compare two images.

        Args:
            pred: the warped moving image, `(B, 1, D, H, W)`.
            target: the fixed image, the same shape; defines the foreground and gets no gradient.

        Returns:
            A scalar: -1 for images that are equal up to local contrast, 0 for uncorrelated or constant images.
        """
        with torch.autocast(pred.device.type, enabled=False):
            dtype = torch.promote_types(pred.dtype, torch.float32)
            pred, target = _standardized(pred.to(dtype)), _standardized(target.detach().to(dtype))
            box_sum = partial(_compiled_box_sum if uses_kernels(pred) else _box_sum, window=self.window)
            volume = _window_volume(target, self.window)
            mean_target, mean_target2 = _means(box_sum, volume, target, target.square())
            mean_pred, mean_pred2, mean_product = _means(box_sum, volume, pred, pred.square(), pred * target)

            variance_target = mean_target2 - mean_target.square()
            variance_pred = mean_pred2 - mean_pred.square()
            covariance = mean_product - mean_pred * mean_target
            foreground = (variance_target > _FLAT).to(dtype)
            product = variance_target.clamp(min=_FLAT) * variance_pred.clamp(min=_FLAT)
            correlation = (covariance.square() / product).clamp(max=1)
            per_image = (correlation * foreground).sum(dim=(1, 2, 3, 4)) / foreground.sum(dim=(1, 2, 3, 4)).clamp(min=1)
            return -per_image.mean()


def _means(box_sum: Callable[[Tensor], Tensor], volume: Tensor, *images: Tensor) -> tuple[Tensor, ...]:
    # A box sum with zeros beyond the image is symmetric, hence self-adjoint.
    return (SelfAdjoint.apply(box_sum, torch.cat(images, dim=1)) / volume).split(1, dim=1)


def _compiled_box_sum(image: Tensor, window: int) -> Tensor:
    image = image.contiguous()
    partial_sums, sums = torch.empty_like(image), torch.empty_like(image)
    count = image.shape[0] * image.shape[1]
    call("box_sum", image, partial_sums, sums, count, *image.shape[2:], window)
    return sums


def _box_sum(image: Tensor, window: int) -> Tensor:
    for axis in (2, 3, 4):
        pools = image.is_cuda and image.shape[axis] >= window
        image = sum_by_pooling(image, axis, window) if pools else sum_by_doubling(image, axis, window)
    return image


def sum_by_pooling(image: Tensor, axis: int, window: int) -> Tensor:
    """Sums of `window` neighbors along an axis in one operation, which is fast on a GPU and slow on CPUs.

    Args:
        image: `(B, C, D, H, W)`; 0 beyond the border.
        axis: axis of the tensor, 2 to 4, of at least `window` voxels.
        window: number of summed voxels, odd.

    Returns:
        The same shape.
    """
    width, padding = [1, 1, 1], [0, 0, 0]
    width[axis - 2], padding[axis - 2] = window, window // 2
    return avg_pool3d(image, width, 1, padding, divisor_override=1)


def sum_by_doubling(image: Tensor, axis: int, window: int) -> Tensor:
    """Sums of `window` neighbors along an axis from sums of 1, 2, 4, ... voxels, one per binary digit of `window`.

    Args:
        image: `(B, C, D, H, W)`; 0 beyond the border.
        axis: axis of the tensor, 2 to 4.
        window: number of summed voxels, odd.

    Returns:
        The same shape.
    """
    size, radius = image.shape[axis], window // 2
    sums = pad(image, [0, 0] * (4 - axis) + [radius, radius])
    total = sums.narrow(axis, 0, size)
    start, length = 1, 1
    while 2 * length <= window:
        count = sums.shape[axis] - length
        sums = sums.narrow(axis, 0, count) + sums.narrow(axis, length, count)
        length *= 2
        if window & length:
            total = total + sums.narrow(axis, start, size)
            start += length
    return total


def _window_volume(image: Tensor, window: int) -> Tensor:
    """Number of voxels of each window that lie inside the image, `(1, 1, D, H, W)`."""
    counts = []
    for size in image.shape[2:]:
        index = torch.arange(size, device=image.device)
        counts.append((index + window // 2).clamp(max=size - 1) - (index - window // 2).clamp(min=0) + 1)
    volume = counts[0].view(-1, 1, 1) * counts[1].view(1, -1, 1) * counts[2].view(1, 1, -1)
    return volume.to(image.dtype)[None, None]


def _standardized(image: Tensor) -> Tensor:
    # Correlation is invariant to offset and scale, but squares of large values lose the digits of a small variance.
    constant, precision = image.detach(), torch.finfo(image.dtype)
    mean = constant.mean(dim=(1, 2, 3, 4), keepdim=True)
    deviation = constant.std(dim=(1, 2, 3, 4), keepdim=True, correction=0)
    # The mean of equal voxels may be off in its last digit; that is not contrast.
    return (image - mean) / torch.maximum(deviation, precision.eps * mean.abs()).clamp(min=precision.tiny)
