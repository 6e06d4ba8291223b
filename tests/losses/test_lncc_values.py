# SPDX-License-Identifier: Apache-2.0
"""LNCC and its gradient against float64 convolutions and MONAI."""

import pytest
import torch
from monai.losses import LocalNormalizedCrossCorrelationLoss

from scripts.losses import LNCCLoss
from scripts.losses.lncc import sum_by_doubling, sum_by_pooling
from tests.losses.examples import brain_like, gradient, reference, reference_terms, relative_error, smooth


@pytest.mark.parametrize("window", [3, 5, 9])
@pytest.mark.parametrize("size", [(14, 11, 13), (5, 12, 7), (1, 9, 10)])
def test_value_and_gradient_are_those_of_convolutions(window: int, size: tuple[int, ...]) -> None:
    target = torch.cat([smooth(0, *size), smooth(1, *size)])
    pred = (target + torch.cat([smooth(2, *size), smooth(3, *size)])) / 2
    loss = LNCCLoss(window)
    value, expected = loss(pred, target), reference(pred, target, window)
    assert -0.95 < expected < -0.1
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    expected_gradient = gradient(lambda p, t: reference(p, t, window), pred.double(), target)
    assert relative_error(gradient(loss, pred, target), expected_gradient) < 1e-4


@pytest.mark.parametrize("window", [3, 5, 9])
def test_value_and_gradient_of_a_brain_are_those_of_convolutions(window: int) -> None:
    target = brain_like(4, 24, 22, 26, share=0.12)
    pred = (target + brain_like(5, 24, 22, 26, share=0.15)) / 2
    loss = LNCCLoss(window)
    assert loss(pred, target).item() == pytest.approx(reference(pred, target, window).item(), rel=1e-4)
    expected_gradient = gradient(lambda p, t: reference(p, t, window), pred.double(), target)
    assert relative_error(gradient(loss, pred, target), expected_gradient) < 1e-4


@pytest.mark.parametrize("window", [3, 9])
def test_windows_below_the_threshold_of_contrast_are_left_out(window: int) -> None:
    # Contrast falls by a factor of a million along an axis: the variance crosses the threshold.
    size = (20, 24, 10)
    fading = torch.logspace(0, -6, 24).view(1, 24, 1)
    target = smooth(36, *size) * fading
    pred = (target + smooth(37, *size) * fading) * torch.logspace(-5, 0, 20).view(20, 1, 1)
    foreground = reference_terms(pred, target, window)[1].double().mean()
    assert 0.2 < foreground < 0.8
    loss = LNCCLoss(window)
    # Rounding may decide one window at the threshold differently: 1 of 4800.
    assert loss(pred, target).item() == pytest.approx(reference(pred, target, window).item(), abs=5e-4)
    expected_gradient = gradient(lambda p, t: reference(p, t, window), pred.double(), target)
    assert relative_error(gradient(loss, pred, target), expected_gradient) < 1e-2


@pytest.mark.parametrize("window", range(1, 20, 2))
def test_every_odd_window_is_that_of_convolutions(window: int) -> None:
    target, noise = smooth(38, 11, 12, 10), smooth(39, 11, 12, 10)
    pred = (target + noise) / 2
    if window == 1:
        assert LNCCLoss(window)(pred, target) == 0  # one voxel has no contrast
    else:
        expected = reference(pred, target, window).item()
        assert LNCCLoss(window)(pred, target).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("window", [3, 5, 9])
def test_value_is_that_of_monai_over_the_share_of_foreground(window: int) -> None:
    # Zeros around the brain, as MONAI pads images with zeros.
    target = brain_like(6, 36, 34, 38, share=0.1)
    pred = (target + 0.5 * brain_like(7, 36, 34, 38, share=0.12)) / 1.5
    share = reference_terms(pred, target, window)[1].double().mean()
    assert 0.1 < share < 0.8
    monai = LocalNormalizedCrossCorrelationLoss(kernel_size=window, kernel_type="rectangular", smooth_dr=1e-8)
    expected = monai(pred.double(), target.double()) / share
    assert LNCCLoss(window)(pred, target).item() == pytest.approx(expected.item(), abs=2e-4)


def test_target_gets_no_gradient() -> None:
    pred, target = smooth(8, 8, 8, 8).requires_grad_(), smooth(9, 8, 8, 8).requires_grad_()
    LNCCLoss()(pred, target).backward()
    assert pred.grad.abs().sum() > 0
    assert target.grad is None


def test_gradient_is_right() -> None:
    target = smooth(10, 5, 6, 4).double()
    pred = smooth(11, 5, 6, 4).double().requires_grad_()
    for window in (3, 9):
        assert torch.autograd.gradcheck(LNCCLoss(window), (pred, target))


def test_float64_stays_float64() -> None:
    pred, target = smooth(12, 8, 9, 7).double(), smooth(13, 8, 9, 7).double()
    value = LNCCLoss()(pred, target)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(reference(pred, target).item(), rel=1e-12)


def test_gradient_descent_approaches_the_target() -> None:
    target = smooth(14, 10, 10, 10)
    pred = smooth(15, 10, 10, 10)
    start = LNCCLoss(5)(pred, target)
    for _ in range(20):
        step = gradient(LNCCLoss(5), pred, target)
        pred = pred - 0.02 * step / step.abs().max()
    assert LNCCLoss(5)(pred, target) < start - 0.2


@pytest.mark.parametrize("axis", [2, 3, 4])
@pytest.mark.parametrize("window", [1, 3, 9])
def test_sums_by_pooling_are_those_by_doubling(window: int, axis: int) -> None:
    # The loss pools on a GPU only.
    image = torch.rand(2, 3, 9, 11, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(41))
    pooled, doubled = sum_by_pooling(image, axis, window), sum_by_doubling(image, axis, window)
    torch.testing.assert_close(pooled, doubled, rtol=0, atol=1e-12)
