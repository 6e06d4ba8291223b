# SPDX-License-Identifier: Apache-2.0
"""The histogram and the color scale."""

import re

import numpy as np

from scripts.report.charts import color_scale, histogram, quality_scale
from scripts.report.style import MAGENTA


def bars(chart: str) -> list[float]:
    """Height of each bar, from 0 to 1."""
    return [float(height) for height in re.findall(r'<rect x="\d+" y="[\d.]+" width="0.95" height="([\d.]+)"', chart)]


def test_bars_are_relative_to_the_highest() -> None:
    # 40 bars of 0.1 mm: 30 lengths in the first, 15 + 1 in the last.
    lengths = np.concatenate([np.full(30, 0.01), np.full(15, 3.99), [4.0]])
    heights = bars(histogram(lengths))
    assert len(heights) == 40
    assert heights[0] == 1.0
    assert abs(heights[-1] - 16 / 30) < 1e-3
    assert not any(heights[1:-1])


def test_sentence_and_axis_are_in_mm() -> None:
    # 1001 lengths in steps of 0.01 mm; a bar of 0.25 mm holds 25 of them, 2.5 %.
    chart = histogram(np.linspace(0, 10, 1001))
    assert "less than 5.0 mm, 95 % by less than 9.5 mm; the longest displacement is 10.0 mm" in chart
    assert re.findall(r"<span>(.*?)</span>", chart) == ["0.0 mm", "2.5 mm", "5.0 mm", "7.5 mm", "10.0 mm"]
    assert "<title>0.0 to 0.2 mm: 2.5 %</title>" in chart


def test_zero_displacement_and_empty_foreground() -> None:
    assert bars(histogram(np.zeros(5)))[0] == 1.0
    assert "no foreground" in histogram(np.zeros(0))
    assert "no foreground" in histogram(np.full(3, np.nan))


def test_values_that_are_not_finite_are_left_out() -> None:
    assert histogram(np.array([1.0, 2.0, np.nan, np.inf])) == histogram(np.array([1.0, 2.0]))


def test_scale_is_logarithmic() -> None:
    # 1/2 is at 50 + 50 ln(1/2) / ln(3) = 18.5 %.
    places = dict(re.findall(r'<span style="left: ([\d.]+)%">(.*?)</span>', color_scale()))
    assert {ratio: float(place) for place, ratio in places.items()} == {
        "1/3": 0.0,
        "1/2": 18.5,
        "1": 50.0,
        "2": 81.5,
        "3": 100.0,
    }
    assert MAGENTA in color_scale()


def test_scale_of_the_quality_is_linear() -> None:
    places = dict(re.findall(r'<span style="left: ([\d.]+)%">(.*?)</span>', quality_scale()))
    assert {float(place) / 100 for place in places} == {float(value) for value in places.values()}
    assert {"0", "1"} <= set(places.values())
