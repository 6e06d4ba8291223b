# SPDX-License-Identifier: Apache-2.0
"""Images, and LNCC by float64 convolutions."""

from collections.abc import Callable

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import conv3d

FLAT = 1e-4


def reference_terms(pred: Tensor, target: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Squared correlation of each window and whether it is foreground, in float64, by convolutions."""
    pred, target = pred.double(), target.double()

    def total(image: Tensor) -> Tensor:
        for width in ((window, 1, 1), (1, window, 1), (1, 1, window)):
            box = torch.ones(1, 1, *width, dtype=torch.float64)
            image = conv3d(image, box, padding=[w // 2 for w in width])
        return image

    def mean(image: Tensor) -> Tensor:
        return total(image) / total(torch.ones_like(image))

    def flat(image: Tensor) -> Tensor:
        return FLAT * image.detach().var(dim=(1, 2, 3, 4), unbiased=False, keepdim=True)

    # Offsets only reduce the number of exact digits.
    pred = pred - pred.detach().mean(dim=(1, 2, 3, 4), keepdim=True)
    target = target - target.mean(dim=(1, 2, 3, 4), keepdim=True)
    variance_pred = mean(pred**2) - mean(pred) ** 2
    variance_target = mean(target**2) - mean(target) ** 2
    covariance = mean(pred * target) - mean(pred) * mean(target)
    correlation = covariance**2 / (variance_pred.maximum(flat(pred)) * variance_target.maximum(flat(target)))
    return correlation, variance_target > flat(target)


def reference(pred: Tensor, target: Tensor, window: int = 9) -> Tensor:
    correlation, foreground = reference_terms(pred, target, window)
    return -correlation[foreground].mean()


def smooth(seed: int, *size: int, sigma: float = 1.5) -> Tensor:
    """Random image in [0, 1]."""
    noise = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    image = torch.from_numpy(gaussian_filter(noise.numpy(), sigma))
    return ((image - image.min()) / (image.max() - image.min()))[None, None].float()


def ball(*size: int, share: float) -> Tensor:
    """Mask of a centered ball that fills this share of the grid."""
    axes = [(torch.arange(n) - (n - 1) / 2) for n in size]
    radius2 = axes[0].view(-1, 1, 1) ** 2 + axes[1].view(1, -1, 1) ** 2 + axes[2].view(1, 1, -1) ** 2
    return radius2 <= radius2.flatten().kthvalue(round(share * radius2.numel())).values


def brain_like(seed: int, *size: int, share: float) -> Tensor:
    """Noise between 0.4 and 1 in a ball, 0 around it."""
    texture = 0.4 + 0.6 * torch.rand(size, generator=torch.Generator().manual_seed(seed))
    return (texture * ball(*size, share=share))[None, None]


def gradient(loss: Callable, pred: Tensor, target: Tensor) -> Tensor:
    pred = pred.detach().clone().requires_grad_()
    (result,) = torch.autograd.grad(loss(pred, target), pred)
    return result


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()
