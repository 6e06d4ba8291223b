# SPDX-License-Identifier: Apache-2.0
"""The verdict on measured registrations, and each rule alone."""

import copy
import math
from typing import Any

import pytest

from scripts.report import judge

Metrics = dict[str, Any]

# Measured on real skull-stripped brains (OASIS 1003 <- 1010 unless said otherwise), 1 mm, weights of this project:
# similarity before and after, foreground overlap, SDlogJ, largest displacement (mm), and the expected verdict.
MEASURED = {
    "well aligned": (0.2860, 0.8297, 0.9941, 0.0809, 21.3, "pass"),
    "other people": (0.2150, 0.7944, 0.9942, 0.0871, 20.8, "pass"),
    "the same person again": (0.8741, 0.9280, 0.9947, 0.0538, 22.6, "pass"),
    "noise of 3 %": (0.2629, 0.7763, 0.9934, 0.0809, 21.2, "pass"),
    "noise of 6 %": (0.2259, 0.6825, 0.9920, 0.0810, 21.4, "pass"),
    "slices of 5 mm": (0.3352, 0.8381, 0.9937, 0.0858, 21.4, "pass"),
    "rotated by 10 degrees": (0.1927, 0.7901, 0.9936, 0.0910, 23.3, "pass"),
    "noise of 10 %": (0.1775, 0.5542, 0.9901, 0.0812, 21.2, "look"),
    "rotated by 20 degrees": (0.1386, 0.6844, 0.9874, 0.1050, 22.7, "fail"),
    "an image and itself": (1.0000, 0.9499, 0.9958, 0.0492, 22.7, "look"),
    "inverted contrast": (0.1992, 0.3402, 0.9570, 0.1190, 20.8, "look"),
    "rotated by 90 degrees": (0.0870, 0.4802, 0.9200, 0.1202, 22.7, "fail"),
    "rotated by 180 degrees": (0.1123, 0.5579, 0.9379, 0.1134, 21.4, "fail"),
    "upside down": (0.1388, 0.5460, 0.9325, 0.1110, 22.4, "fail"),
    "shifted by 15 mm": (0.0881, 0.4960, 0.9355, 0.1203, 22.4, "fail"),
    "voxels shuffled": (0.0955, 0.3119, 0.9889, 0.1030, 19.2, "fail"),
    "noise instead of a brain": (0.0013, 0.0117, 0.4454, 0.1420, 21.1, "fail"),
}


@pytest.mark.parametrize("name", MEASURED)
def test_measured_registrations_get_their_verdict(name: str) -> None:
    before, after, overlap, roughness, largest, verdict = MEASURED[name]
    measured = {
        "lncc_before": before,
        "lncc": after,
        "foreground_dice": overlap,
        "foreground_folding_percent": 0.0,
        "sdlogj": roughness,
        "max_displacement_mm": largest,
    }
    found, reasons = judge(measured)
    assert (found, bool(reasons)) == (verdict, True), reasons


# Measured with the shipped weights: the affine that is found ("right"), also for scans that were turned or made larger,
# or this one followed by a rotation or a scaling. Similarity before and after, rotation and scales of the whole affine,
# and the expected verdict.
STARTS = {
    "adults, right": (0.284, 0.812, 7, (1.07, 1.02, 0.96), "pass"),
    "adults, right, turned and 1.5 times as large": (0.242, 0.826, 98, (1.61, 1.54, 1.50), "look"),
    "adults, 180 about x": (0.100, 0.610, 173, (1.07, 1.02, 0.96), "fail"),
    "adults, 180 about z": (0.107, 0.657, 178, (1.07, 1.02, 0.96), "fail"),
    "adults, 90 about x": (0.087, 0.601, 97, (1.07, 1.02, 0.96), "fail"),
    "adults, 120": (0.071, 0.578, 125, (1.07, 1.02, 0.96), "fail"),
    "adults, too large by 1.25": (0.052, 0.812, 7, (1.34, 1.28, 1.20), "look"),
    "adults, too small by 1.25": (0.096, 0.619, 7, (0.86, 0.82, 0.77), "fail"),
    "two of another site, right, header turned by 180": (0.320, 0.842, 171, (0.95, 0.93, 0.91), "look"),
    "two of another site, whole heads, right, turned, 1.5": (0.272, 0.682, 150, (1.46, 1.41, 1.40), "look"),
    "two of another site, 180 about z": (0.105, 0.666, 174, (0.95, 0.93, 0.91), "fail"),
    "two of another site, 90 about x": (0.084, 0.607, 99, (0.95, 0.93, 0.91), "fail"),
    "infants, right": (0.305, 0.681, 2, (0.97, 0.87, 0.84), "pass"),
    "infants, 180 about y": (0.133, 0.559, 179, (0.97, 0.87, 0.84), "fail"),
    "infants, too large by 1.25": (0.027, 0.637, 2, (1.21, 1.08, 1.05), "fail"),
    "other adults, right": (0.209, 0.799, 4, (0.94, 0.87, 0.86), "pass"),
    "aligned adults, right, 1.25 times as large": (0.240, 0.819, 0, (1.26, 1.25, 1.23), "pass"),
    # Not measured: whatever the network makes of it.
    "turned, unaligned, then alike": (0.100, 0.850, 120, (1.0, 1.0, 1.0), "fail"),
}


@pytest.mark.parametrize("name", STARTS)
def test_wrong_starts_fail_and_right_ones_do_not(name: str, metrics: Metrics) -> None:
    before, after, rotation, scale, verdict = STARTS[name]
    affine = {"rotation_degrees": rotation, "scale": list(scale)}
    found, reasons = judge(metrics | {"lncc_before": before, "lncc": after, "affine": affine})
    assert found == verdict, reasons


# Measured by `study alignment`: the moving scan's header changed, and no affine stage. Similarity before and after, NDV
# in percent, mean distance (mm) from where the unchanged pair is taken, and the expected verdict.
UNALIGNED = {
    "turned by 135 degrees": (0.095, 0.764, 0.8356, 86.4, "fail"),
    "turned by 15 degrees": (0.177, 0.820, 0.0167, 5.7, "look"),
    "shifted by 20 mm": (0.086, 0.867, 0.1057, 4.7, "fail"),
    "half as large": (0.012, 0.845, 0.0110, 8.0, "fail"),
    "as it is": (0.286, 0.860, 0.0025, 0.0, "pass"),
}


@pytest.mark.parametrize("name", UNALIGNED)
def test_folding_tells_that_the_brains_were_not_aligned(name: str, metrics: Metrics) -> None:
    before, after, folded, _, verdict = UNALIGNED[name]
    found, reasons = judge(metrics | {"lncc_before": before, "lncc": after, "foreground_ndv_percent": folded})
    assert (found, bool(reasons)) == (verdict, True), reasons


REJECTED = {"lncc_before": 0.2, "lncc": 0.5, "mutual_information_before": 0.05, "mutual_information": 0.03}


@pytest.mark.parametrize(
    ("change", "verdict", "word"),
    [
        ({"lncc": 0.25}, "fail", "fell from 0.29 to 0.25"),
        ({"lncc": 0.30}, "look", "gained little"),
        ({"lncc": 0.10, "lncc_before": 0.02}, "fail", "nothing in common"),
        ({"foreground_dice": 0.7}, "fail", "overlap by 70 %"),
        ({"foreground_dice": 0.85}, "look", "overlap by 85 %"),
        ({"foreground_folding_percent": 1.5}, "fail", "1.5 % of the foreground is folded"),
        ({"foreground_folding_percent": 0.3}, "look", "0.3 % of the foreground is folded"),
        ({"foreground_ndv_percent": 2.0}, "fail", "volume is folded (NDV)"),
        ({"foreground_ndv_percent": 0.5}, "look", "volume is folded (NDV)"),
        ({"sdlogj": 0.3}, "look", "rough"),
        ({"max_displacement_mm": 50.0}, "look", "50 mm"),
        ({"inverse_consistency_mean_mm": 1.4}, "look", "1.4 mm"),
        ({"affine": {"rotation_degrees": 60.0, "scale": [1.0, 1.0, 1.0]}}, "look", "60 degrees"),
        ({"affine": {"rotation_degrees": 0.0, "scale": [1.0, 1.4, 0.7]}}, "look", "1.40, 0.70"),
        ({"moving": {"warnings": ["not skull-stripped"]}}, "look", "moving scan: not skull-stripped"),
        ({"warnings": ["different contrasts"]}, "look", "different contrasts"),
        ({"rejected": REJECTED}, "fail", "less alike (mutual information 0.050 before, 0.030 after)"),
        ({"rejected": REJECTED | {"mutual_information": 0.06}}, "fail", "hardly made the images more alike"),
    ],
)
def test_one_bad_metric_is_named(metrics: Metrics, change: Metrics, verdict: str, word: str) -> None:
    found, reasons = judge(metrics | change)
    assert found == verdict
    assert len(reasons) == 1 and word in reasons[0]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "missing"])
@pytest.mark.parametrize(
    "key", ["lncc_before", "lncc", "foreground_dice", "foreground_folding_percent", "max_displacement_mm"]
)
def test_a_needed_metric_that_is_no_number_fails(metrics: Metrics, key: str, value: object) -> None:
    metrics[key] = value
    if value == "missing":
        del metrics[key]
    verdict, reasons = judge(metrics)
    assert verdict == "fail"
    assert any("could not be measured" in reason for reason in reasons)


@pytest.mark.parametrize(
    "key", ["foreground_ndv_percent", "sdlogj", "inverse_consistency_mean_mm", "affine", "fixed", "dice"]
)
def test_other_metrics_may_be_missing_or_none(metrics: Metrics, key: str) -> None:
    assert judge({**metrics, key: None})[0] == "pass"
    metrics.pop(key, None)
    assert judge(metrics)[0] == "pass"


def test_reasons_of_failures_come_first(metrics: Metrics) -> None:
    metrics["fixed"]["warnings"] = ["a warning"]
    verdict, reasons = judge(metrics | {"foreground_folding_percent": 5.0})
    assert verdict == "fail"
    assert "folded" in reasons[0] and reasons[-1] == "fixed scan: a warning"


def test_pass_has_a_reason(metrics: Metrics) -> None:
    verdict, (reason,) = judge(metrics)
    assert verdict == "pass"
    assert "from 0.29 to 0.83" in reason and "99 %" in reason


def test_the_metrics_are_not_changed(metrics: Metrics) -> None:
    before = copy.deepcopy(metrics)
    judge(metrics)
    assert metrics == before
