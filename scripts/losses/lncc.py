"""Local normalised cross-correlation."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

# Windows whose variance is below this share of the whole image's hold no contrast to match.
_FLAT = 1e-4


class LNCCLoss(nn.Module):
    """Negative squared normalised cross-correlation in a sliding box (Avants et al., MedIA 2008), in [-1, 0].

    Averaged over the foreground: the windows in which the target varies at all, so that the empty space around a brain
    does not dilute it. Linear changes of either image's intensities leave it as it is. Computed in float32 (float64
    inputs stay so), also under autocast: variances are differences of large sums.

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
            pred, target = _centred(pred.to(dtype)), _centred(target.detach().to(dtype))
            mean_target, mean_target2 = self._means(target, target.square())
            mean_pred, mean_pred2, mean_product = self._means(pred, pred.square(), pred * target)

            flat_target, flat_pred = _FLAT * _variance(target), _FLAT * _variance(pred.detach())
            variance_target = mean_target2 - mean_target.square()
            variance_pred = mean_pred2 - mean_pred.square()
            covariance = mean_product - mean_pred * mean_target
            foreground = (variance_target > flat_target).to(dtype)
            product = variance_target.clamp(min=0).maximum(flat_target) * variance_pred.maximum(flat_pred)
            correlation = (covariance.square() / product.clamp(min=torch.finfo(dtype).tiny)).clamp(max=1)
            return -(correlation * foreground).sum() / foreground.sum().clamp(min=1)

    def _means(self, *images: Tensor) -> tuple[Tensor, ...]:
        stacked = torch.cat(images, dim=1)
        return (_BoxSum.apply(stacked, self.window) / _window_volume(stacked, self.window)).split(1, dim=1)


class _BoxSum(torch.autograd.Function):
    """Sum over a centred box, zeros outside the image. The filter is symmetric, hence its own gradient."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, window: int) -> Tensor:
        ctx.window = window
        return _box_sum(image, window)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _BoxSum.apply(gradient, ctx.window), None


def _box_sum(image: Tensor, window: int) -> Tensor:
    for axis in (2, 3, 4):
        image = _box_sum_along(image, axis, window)
    return image


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


def _centred(image: Tensor) -> Tensor:
    # Correlation ignores an offset, float32 does not: squares of large values drown small variances.
    return image - image.detach().mean(dim=(1, 2, 3, 4), keepdim=True)


def _variance(image: Tensor) -> Tensor:
    return image.square().mean(dim=(1, 2, 3, 4), keepdim=True)
