# SPDX-License-Identifier: Apache-2.0
"""Changes of the images that do not change LNCC, and the batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.losses import LNCCLoss
from tests.losses.examples import ball, smooth


@given(
    scale=st.one_of(st.floats(1e-3, 1e3), st.floats(-1e3, -1e-3)),
    offset=st.floats(-10, 10),
    which=st.sampled_from(["pred", "target"]),
)
@settings(max_examples=50, deadline=None)
def test_linear_change_of_intensities_changes_nothing(scale: float, offset: float, which: str) -> None:
    pred, target = smooth(24, 12, 13, 11), smooth(25, 12, 13, 11)
    expected = LNCCLoss()(pred, target)
    if which == "pred":
        pred = scale * (pred + offset)
    else:
        target = scale * (target + offset)
    assert LNCCLoss()(pred, target).item() == pytest.approx(expected.item(), abs=1e-3)


def test_half_precision_is_computed_in_float32() -> None:
    pred = smooth(26, 14, 13, 12).bfloat16().requires_grad_()
    target = smooth(27, 14, 13, 12).bfloat16()
    expected = LNCCLoss()(pred.float(), target.float())
    with torch.autocast("cpu", torch.bfloat16):
        value = LNCCLoss()(pred, target)
        float_value = LNCCLoss()(pred.float(), target.float())
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert torch.equal(float_value, expected)
    value.backward()
    assert pred.grad.isfinite().all() and pred.grad.abs().sum() > 0


def test_value_of_a_batch_is_the_mean_of_its_items() -> None:
    # Their foregrounds differ in size: the mean over all windows is not the mean over items.
    small = smooth(29, 19, 18, 17) * ball(19, 18, 17, share=0.05)
    pred = torch.cat([smooth(28, 19, 18, 17), 1e4 * small])
    target = torch.cat([100 * smooth(30, 19, 18, 17), small])
    single = [LNCCLoss(5)(pred[i : i + 1], target[i : i + 1]).item() for i in range(2)]
    assert abs(single[0] - single[1]) > 0.1
    assert LNCCLoss(5)(pred, target).item() == pytest.approx(sum(single) / 2, abs=1e-5)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_mirrored_images_have_the_same_value(axis: int) -> None:
    pred, target = smooth(32, 7, 10, 12), smooth(33, 7, 10, 12)
    for window in (3, 5, 9):
        mirrored = LNCCLoss(window)(pred.flip(axis), target.flip(axis))
        torch.testing.assert_close(mirrored, LNCCLoss(window)(pred, target))


@pytest.mark.parametrize("window", [-3, 0, 2, 8])
def test_window_without_a_center_is_refused(window: int) -> None:
    with pytest.raises(ValueError, match=f"odd number, not {window}"):
        LNCCLoss(window)
