import re

import numpy as np

from scripts.report.charts import colour_scale, histogram
from scripts.report.style import LOUD


def bars(chart):
    return [float(height) for height in re.findall(r'<rect x="\d+" y="[\d.]+" width="0.95" height="([\d.]+)"', chart)]


def test_bars_are_shares_of_the_highest():
    lengths = np.concatenate([np.full(30, 0.01), np.full(15, 3.99), [4.0]])
    heights = bars(histogram(lengths))
    assert len(heights) == 40
    assert heights[0] == 1.0
    assert abs(heights[-1] - 16 / 30) < 1e-3
    assert not any(heights[1:-1])


def test_words_and_axis_tell_millimetres():
    chart = histogram(np.linspace(0, 10, 1001))
    assert "less than 5.0 mm, 95 % by less than 9.5 mm; the longest displacement is 10.0 mm" in chart
    assert re.findall(r"<span>(.*?)</span>", chart) == ["0.0 mm", "2.5 mm", "5.0 mm", "7.5 mm", "10.0 mm"]
    assert "<title>0.0 to 0.2 mm: 2.5 %</title>" in chart


def test_nothing_moves_and_nothing_is_there():
    assert bars(histogram(np.zeros(5)))[0] == 1.0
    assert "no foreground" in histogram(np.zeros(0))
    assert "no foreground" in histogram(np.full(3, np.nan))


def test_what_is_not_finite_is_left_out():
    assert histogram(np.array([1.0, 2.0, np.nan, np.inf])) == histogram(np.array([1.0, 2.0]))


def test_scale_puts_ratios_at_their_logarithms():
    places = dict(re.findall(r'<span style="left: ([\d.]+)%">(.*?)</span>', colour_scale()))
    assert {ratio: float(place) for place, ratio in places.items()} == {
        "1/3": 0.0,
        "1/2": 18.5,
        "1": 50.0,
        "2": 81.5,
        "3": 100.0,
    }
    assert LOUD in colour_scale()
