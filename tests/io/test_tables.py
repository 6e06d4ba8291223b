# SPDX-License-Identifier: Apache-2.0
"""The table of metrics: values, mean and standard deviation, and files that are complete."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.io.tables import write_table
from scripts.metrics.summary import summarize

ROWS = [
    {"pair": "a_b", "dice": 0.75, "tre": 2.0},
    {"pair": "b_c", "dice": math.nan, "tre": 5.0},
    {"pair": "c_d", "dice": 0.25, "hd95": math.inf},
]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_summary_is_mean_and_population_deviation(values: list[float]) -> None:
    summary = summarize([{"pair": str(i), "dice": value} for i, value in enumerate(values)])
    assert summary["dice"]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
    assert summary["dice"]["std"] == pytest.approx(np.std(values), abs=1e-6)


def test_nan_and_missing_values_are_left_out() -> None:
    summary = summarize(ROWS)
    assert summary["dice"] == {"mean": 0.5, "std": 0.25}
    assert summary["tre"] == {"mean": 3.5, "std": 1.5}


def test_metric_that_no_pair_has_is_nan() -> None:
    assert math.isnan(summarize([{"pair": "a", "dice": math.nan}])["dice"]["mean"])


def test_json_holds_pairs_and_summary_with_null_for_what_is_not_finite(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "new" / "metrics")
    table = json.loads((tmp_path / "new" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert table["pairs"] == [
        {"pair": "a_b", "dice": 0.75, "tre": 2.0},
        {"pair": "b_c", "dice": None, "tre": 5.0},
        {"pair": "c_d", "dice": 0.25, "hd95": None},
    ]
    assert table["summary"]["dice"] == {"mean": 0.5, "std": 0.25}
    assert table["summary"]["hd95"] == {"mean": None, "std": None}


def test_csv_has_a_row_per_pair_then_mean_and_deviation(tmp_path: Path) -> None:
    write_table(ROWS[:2], tmp_path / "metrics")
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["pair", "dice", "tre"],
        ["a_b", "0.75", "2.0"],
        ["b_c", "", "5.0"],
        ["mean", "0.75", "3.5"],
        ["std", "0.0", "1.5"],
    ]


def test_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "metrics")
    before = (tmp_path / "metrics.json").read_text()
    with pytest.raises(TypeError):
        write_table([{"pair": object(), "dice": 1.0}], tmp_path / "metrics")
    assert (tmp_path / "metrics.json").read_text() == before


def test_only_the_two_files_are_left(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "metrics.v1")
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.v1.csv", "metrics.v1.json"}
