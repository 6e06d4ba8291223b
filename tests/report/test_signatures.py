# SPDX-License-Identifier: Apache-2.0
"""Signatures of failures: which figures have which, and that verdict and report say so."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.report import judge, registration_report
from scripts.report.signatures import signatures

Metrics = dict[str, Any]
LANDMARKS = {"tre": 4.0, "tre_bias": 3.5, "landmarks": {"count": 32}}


def names(metrics: Metrics) -> list[str]:
    return [signature.name for signature in signatures(metrics)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"dice_before": 0.4, "dice": 0.62}, []),
        ({"foreground_ndv_percent": 0.05}, ["rough"]),
        ({"dice_before": 0.1, "dice": 0.3}, ["unmatched"]),
        ({"dice_before": 0.1, "dice": 0.3, "foreground_ndv_percent": 0.05}, ["rough"]),
        ({"dice": 0.62} | LANDMARKS, ["shifted"]),
        ({"dice": 0.62, "foreground_ndv_percent": 0.05} | LANDMARKS, ["rough", "shifted"]),
        ({"dice": 0.3} | LANDMARKS, ["unmatched"]),  # the labels say so as well
        (LANDMARKS, []),  # nothing to compare with
        ({"dice": 0.62} | LANDMARKS | {"tre_bias": 0.9}, []),  # far off, but in all directions
        ({"dice": 0.62} | LANDMARKS | {"landmarks": {"count": 4}}, []),
    ],
)
def test_each_pattern_has_its_signature(metrics: Metrics, change: Metrics, expected: list[str]) -> None:
    assert names(metrics | change) == expected


@pytest.mark.parametrize("value", [None, math.nan])
def test_unknown_figures_have_none(metrics: Metrics, value: object) -> None:
    figures = ("foreground_ndv_percent", "dice", "tre", "tre_bias")
    assert names(metrics | {"landmarks": {"count": 32}} | dict.fromkeys(figures, value)) == []
    assert names({}) == []


def test_verdict_and_report_say_what_it_means_and_what_to_try(tmp_path: Path, metrics: Metrics) -> None:
    shown = metrics | {"dice_before": 0.1, "dice": 0.3}
    (found,) = signatures(shown)
    shown["verdict"], shown["reasons"] = judge(shown)
    assert shown["verdict"] == "look" and found.found in shown["reasons"][0] and found.meaning in shown["reasons"][0]
    image = np.pad(np.ones((4, 4, 4), np.float32), 2)
    volumes = {"fixed": image, "before": image, "moved": image, "field": np.zeros((3, *image.shape), np.float32)}
    registration_report(str(tmp_path / "bad.html"), **volumes, metrics=shown, commands=[])
    registration_report(str(tmp_path / "good.html"), **volumes, metrics=metrics, commands=[])
    bad, good = ((tmp_path / f"{name}.html").read_text() for name in ("bad", "good"))
    assert "What may have gone wrong" in bad and found.advice in bad
    assert "What may have gone wrong" not in good
