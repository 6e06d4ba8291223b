# SPDX-License-Identifier: Apache-2.0
"""LNCC is in [-1, 0] and finite for any images."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scripts.losses import LNCCLoss
from tests.losses.examples import ball, brain_like, gradient, reference, relative_error, smooth


@pytest.mark.parametrize("window", [3, 9])
def test_identical_images_give_minus_1(window: int) -> None:
    for image in (smooth(16, 20, 22, 24), brain_like(17, 32, 30, 28, share=0.12)):
        assert LNCCLoss(window)(image, image).item() == pytest.approx(-1, abs=1e-3)


def test_rounding_gives_no_value_below_minus_1() -> None:
    # Faint noise on a bright half: variances have few exact digits, and half of all correlations round to more than 1.
    target = 0.04 * torch.rand(1, 1, 16, 14, 15, generator=torch.Generator().manual_seed(40))
    target[:, :, 8:] += 1
    for scale in range(3, 23):
        assert -1 <= LNCCLoss(5)(target * scale / 7, target) < -0.999


def test_unrelated_noise_gives_nearly_0() -> None:
    pred, target = (torch.rand(1, 1, 20, 20, 20, generator=torch.Generator().manual_seed(s)) for s in (18, 19))
    assert -0.01 < LNCCLoss(9)(pred, target) < 0


@st.composite
def images(draw: st.DrawFn) -> Tensor:
    """Noise, flat or half flat, of any contrast on any offset."""
    image = torch.rand(2, 1, 7, 6, 8, generator=torch.Generator().manual_seed(draw(st.integers(0, 1000))))
    kind = draw(st.sampled_from(["noise", "half", "flat", "point"]))
    if kind == "half":
        image[:, :, 3:] = 0
    elif kind == "flat":
        image[:] = 1
    elif kind == "point":
        image[:] = 0
        image[:, :, 3, 3, 4] = 1
    contrast = 10.0 ** draw(st.integers(-30, 8))
    return contrast * image + draw(st.sampled_from([0.0, 1.0, -1e3, 1e6, 1e12]))


@given(pred=images(), target=images(), equal=st.booleans(), window=st.sampled_from([1, 3, 9]))
@settings(max_examples=100, deadline=None)
def test_value_is_in_minus_1_to_0_and_gradient_finite(pred: Tensor, target: Tensor, equal: bool, window: int) -> None:
    loss = LNCCLoss(window)
    if equal:
        pred = target.clone()
    assert -1 <= loss(pred, target) <= 0
    assert gradient(loss, pred, target).isfinite().all()


@pytest.mark.parametrize("size", [(7, 6, 8), (12, 11, 13)], ids=str)  # their sums round differently
@pytest.mark.parametrize("constant", [0.0, 1e-8, 0.1, 1.0, 1e6])
def test_constant_image_gives_0_and_no_gradient(constant: float, size: tuple[int, int, int]) -> None:
    flat = torch.full((2, 1, *size), constant)
    image = smooth(20, *size).expand_as(flat)
    for pred, target in ((flat, flat), (flat, image), (image, flat)):
        assert LNCCLoss()(pred, target).item() == pytest.approx(0, abs=1e-6)
        assert gradient(LNCCLoss(), pred, target).isfinite().all()
    assert torch.equal(gradient(LNCCLoss(), image, flat), torch.zeros_like(image))
    assert torch.equal(gradient(LNCCLoss(), flat, flat), torch.zeros_like(image))


def test_constant_background_adds_no_error() -> None:
    # After z-scoring the background is constant but not 0: the variance of its windows is a difference of large sums.
    size = (40, 36, 38)
    inside = ball(*size, share=0.12)
    scans = []
    for seed in (21, 22):
        scan = torch.where(inside, 500 + 150 * smooth(23, *size) + 150 * smooth(seed, *size), 0.0)
        scans.append((scan - scan.mean()) / scan.std())
    assert scans[0].min() < -0.3
    loss, expected = LNCCLoss(9), reference(scans[0], scans[1], 9)
    assert loss(*scans).item() == pytest.approx(expected.item(), abs=1e-3)
    expected_gradient = gradient(reference, scans[0].double(), scans[1])
    assert relative_error(gradient(loss, *scans), expected_gradient) < 1e-3
