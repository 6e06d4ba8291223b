# SPDX-License-Identifier: Apache-2.0
"""The tables of the page, as a reader sees them."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

from scripts.report.tables import inputs_table, key_metrics, metrics_table, number, timings_table, versions_table

Metrics = dict[str, Any]


def rows(table: str) -> list[list[str]]:
    """Cells of each row of a table, without notes."""
    found = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [
        [
            unescape(re.sub(r"<.*?>", "", re.sub(r"<span.*?</span>", "", cell))).strip()
            for cell in re.split(r"</t[hd]>", row)[:-1]
        ]
        for row in found
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ("", "–"),
        ("LAS", "LAS"),
        (0.0, "0"),
        (0, "0"),
        (7, "7"),
        (True, "True"),
        (0.8297, "0.830"),
        (21.34, "21.3"),
        (99.96, "100"),
        (3104.4, "3104"),
        (0.00002, "< 0.0001"),
        (float("nan"), "not a number"),
        (float("inf"), "not a number"),
        ([1.0, 0.5], "1.00, 0.500"),
    ],
)
def test_numbers_have_three_digits(value: object, text: str) -> None:
    assert number(value) == text


def test_metrics_have_values_before_and_after(metrics: Metrics) -> None:
    found = rows(metrics_table(metrics))
    assert ["LNCC", "0.286", "0.830"] in found
    assert ["Foreground Dice", "0.960", "0.994"] in found
    assert ["Folding in the foreground", "", "0 %"] in found
    assert ["Largest displacement", "", "21.30 mm"] in found
    assert ["Affine rotation", "", "7.30 degrees"] in found
    assert ["Affine scale", "", "1.02, 0.970, 1.05"] in found


def test_label_and_landmark_metrics_are_shown_when_measured(metrics: Metrics) -> None:
    for name in (">Dice<", ">HD95<", ">TRE<"):
        assert name not in metrics_table(metrics)
        assert name not in metrics_table(metrics | {"dice": None, "hd95": None, "tre": None})
    metrics |= {"dice_before": 0.4, "dice": 0.75, "hd95_before": 4.0, "hd95": 2.5, "tre_before": 6.0, "tre": 3.0}
    found = rows(metrics_table(metrics))
    assert ["Dice", "0.4000", "0.7500"] in found
    assert ["HD95", "4.00", "2.50 mm"] in found
    assert ["TRE", "6.00", "3.00 mm"] in found


@pytest.mark.parametrize(
    ("left_out", "note"),
    [({"fixed": [], "moving": []}, "In both images"), ({"fixed": ["<PC>"], "moving": ["AC"]}, "not in both: <PC>, AC")],
)
def test_landmarks_say_how_they_were_matched(metrics: Metrics, left_out: dict[str, list[str]], note: str) -> None:
    assert "Landmarks" not in metrics_table(metrics)
    table = metrics_table(metrics | {"landmarks": {"matched_by": "name", "count": 31, "left_out": left_out}})
    assert ["Landmarks", "", "31, matched by name"] in rows(table)
    assert note in unescape(table)


def test_a_metric_without_a_value_before_has_an_empty_cell(metrics: Metrics) -> None:
    assert ["TRE", "", "3.00 mm"] in rows(metrics_table(metrics | {"tre": 3.0}))


def test_refinement_has_a_row(metrics: Metrics) -> None:
    assert "Refinement" not in metrics_table(metrics)
    metrics["refinement"] = {"steps": 50, "lncc_before": 0.8, "lncc_after": 0.8297, "gain": 0.0297}
    table = metrics_table(metrics)
    assert rows(table).count(["Refinement", "0.800", "0.830"]) == 1
    assert "LNCC gained 0.0297 in 50 steps" in table


def test_key_metrics(metrics: Metrics) -> None:
    names = re.findall(
        r'<li><span class="muted">(.*?)</span>', key_metrics(metrics | {"dice": 0.7, "dice_before": 0.4})
    )
    assert names == ["LNCC", "Dice", "Foreground Dice", "Folding in the foreground", "Largest displacement"]
    assert "0.286 →" in key_metrics(metrics)


def test_headers_are_side_by_side(metrics: Metrics) -> None:
    metrics["moving"]["orientation"] = "RAS"
    found = rows(inputs_table(metrics))
    assert found[0] == ["", "Fixed", "Moving"]
    assert ["File", "/data/sub-01/T1.nii.gz", "/data/sub-02/T1.nii.gz"] in found
    assert ["Size, voxels", "24 × 32 × 20", "24 × 32 × 20"] in found
    assert ["Voxel, mm", "1.00 × 0.938 × 1.50", "1.00 × 0.938 × 1.50"] in found
    assert ["Orientation", "LAS", "RAS"] in found


def test_warnings_are_listed_with_their_scan(metrics: Metrics) -> None:
    assert "warnings" not in inputs_table(metrics)
    metrics["moving"]["warnings"] = ["sform and qform differ"]
    assert '<ul class="warnings"><li>Moving: sform and qform differ</li></ul>' in inputs_table(metrics)


def test_timings_have_a_total(metrics: Metrics) -> None:
    found = rows(timings_table(metrics))
    assert ["network", "12.2", "3104"] in found
    assert found[-1] == ["total", "12.8", ""]


def test_versions_settings_and_checksums_are_shown(metrics: Metrics) -> None:
    found = rows(versions_table(metrics))
    assert ["settings: init", "affine"] in found
    assert ["settings: weights: sha256", "ab" * 32] in found
    assert ["versions: torch", "2.13.0"] in found
    assert ["SHA-256: fixed", "0f" * 32] in found


@pytest.mark.parametrize("table", [metrics_table, inputs_table, key_metrics, timings_table, versions_table])
def test_missing_metrics_are_left_out(table: Callable[[Metrics], str]) -> None:
    assert "None" not in table({"fixed": {}, "moving": {}})


def test_text_of_the_input_is_escaped(metrics: Metrics) -> None:
    injected = '<img src=x onerror="alert(1)">&'
    metrics["fixed"] |= {"path": injected, "space": injected, "warnings": [injected], "sha256": injected}
    metrics |= {
        "settings": {injected: injected},
        "versions": {injected: injected},
        "timings": {injected: {"seconds": 1.0}},
    }
    for table in (metrics_table, inputs_table, key_metrics, timings_table, versions_table):
        assert "<img" not in table(metrics)
    assert unescape(inputs_table(metrics)).count(injected) == 3
