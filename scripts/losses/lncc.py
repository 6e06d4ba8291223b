"""Local normalised cross-correlation."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, pad

from scripts.kernels import call
from scripts.spatial import SelfAdjoint, is_compiled

# Windows whose variance is below this share of the whole image's, which is 1, hold no contrast to match.
_FLAT = 1e-4


class LNCCLoss(nn.Module):
    """Negative squared normalised cross-correlation in a sliding box (Avants et al., MedIA 2008), in [-1, 0].

    Averaged over each image's foreground: the windows in which the target varies at all, so that the empty space around
    a brain does not dilute it; then over the batch, which several processes may share. Linear changes of either image's
    intensities leave it as it is. Computed in float32 (float64 inputs stay so), also under autocast: variances are
    differences of large sums.

    Args:
        window: width of the box in voxels, odd; cut off at the image's border.

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
            pred: `(B, 1, D, H, W)`, the warped moving image.
            target: the same shape, the fixed image; it says where the foreground is and gets no gradient.

        Returns:
            A scalar: -1 where the images agree up to local contrast, 0 where nothing agrees or nothing is there.
        """
        with torch.autocast(pred.device.type, enabled=False):
            dtype = torch.promote_types(pred.dtype, torch.float32)
            pred, target = _standardised(pred.to(dtype)), _standardised(target.detach().to(dtype))
            box_sum = partial(_compiled_box_sum if is_compiled(pred) else _box_sum, window=self.window)
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
    # Zero beyond the image: the filter is symmetric, hence its own gradient.
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
        image = _pooled_along(image, axis, window) if pools else _box_sum_along(image, axis, window)
    return image


def _pooled_along(image: Tensor, axis: int, window: int) -> Tensor:
    """Sums of `window` neighbors by one operation: one kernel on a GPU, but slow on CPUs."""
    width, padding = [1, 1, 1], [0, 0, 0]
    width[axis - 2], padding[axis - 2] = window, window // 2
    return avg_pool3d(image, width, 1, padding, divisor_override=1)


def _box_sum_along(image: Tensor, axis: int, window: int) -> Tensor:
    """Sums of `window` neighbours by doubling: of 1, 2, 4, ... terms, added up by the binary digits of `window`."""
    size, radius = image.shape[axis], window // 2
    run = pad(image, [0, 0] * (4 - axis) + [radius, radius])
    total = run.narrow(axis, 0, size)
    start, length = 1, 1
    while 2 * length <= window:
        count = run.shape[axis] - length
        run = run.narrow(axis, 0, count) + run.narrow(axis, length, count)
        length *= 2
        if window & length:
            total = total + run.narrow(axis, start, size)
            start += length
    return total


def _window_volume(image: Tensor, window: int) -> Tensor:
    """Voxels of each window that lie inside the image, `(1, 1, D, H, W)`."""
    counts = []
    for size in image.shape[2:]:
        index = torch.arange(size, device=image.device)
        counts.append((index + window // 2).clamp(max=size - 1) - (index - window // 2).clamp(min=0) + 1)
    volume = counts[0].view(-1, 1, 1) * counts[1].view(1, -1, 1) * counts[2].view(1, 1, -1)
    return volume.to(image.dtype)[None, None]


def _standardised(image: Tensor) -> Tensor:
    # Correlation ignores offset and scale, float32 does not: squares of large values drown small variances.
    constant, precision = image.detach(), torch.finfo(image.dtype)
    mean = constant.mean(dim=(1, 2, 3, 4), keepdim=True)
    deviation = constant.std(dim=(1, 2, 3, 4), keepdim=True, correction=0)
    # The mean of equal voxels may be off in its last digit, which is no contrast.
    return (image - mean) / torch.maximum(deviation, precision.eps * mean.abs()).clamp(min=precision.tiny)
