# SPDX-License-Identifier: Apache-2.0
"""Rows of a comparison: measured once whatever happens, kept, and summed up."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from scripts.evaluation import comparison_charts
from scripts.evaluation.comparison import carry_out
from scripts.evaluation.comparison_table import Results, comparison_text, shown_rows
from scripts.evaluation.methods import Method, affine_only
from scripts.evaluation.studies import Case, Study
from scripts.geometry.grid import Grid

ROOT = Path(__file__).parents[2]
AFFINE = Method("affine", "affine", "", "", affine_only)


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def counting(calls: list[str], *names: str) -> list[Method]:
    """Methods that note when they are called."""

    def field(name: str) -> Callable:
        return lambda image, affine: (calls.append(name), affine_only(image, affine))[1]

    return [Method("affine", name, "", "", field(name)) for name in names]


def toy_study(methods: list[Method], calls: list[str], pairs: str = "pq") -> Study:
    def load(name: str) -> dict:
        calls.append(name)
        return {"image": torch.rand(2, 4, 4, 4), "grid": Grid((4, 4, 4), np.eye(4))}

    cases = [Case(name, "d", lambda name=name: load(name)) for name in pairs]
    return Study("validation", cases, methods, lambda item, method, field: {"dice": 0.5})


def text_of(results: Results, methods: list[Method], pairs: str) -> str:
    studies = {"validation": dict.fromkeys(pairs, "d")}
    return comparison_text(shown_rows(results.rows, methods, studies), methods, studies)


def test_methods_take_turns_on_every_pair(tmp_path: Path) -> None:
    carry_out(toy_study(counting([], "one", "two"), []), Results(tmp_path / "comparison.csv"))
    rows = [(row["pair"], row["method"]) for row in read_rows(tmp_path)]
    assert rows == [("p", "one"), ("p", "two"), ("q", "one"), ("q", "two")]


def test_networks_warm_up_once_before_they_are_timed(tmp_path: Path) -> None:
    calls: list[str] = []
    methods = [method._replace(kind="msfbnet") for method in counting(calls, "net")]
    carry_out(toy_study(methods, calls), Results(tmp_path / "comparison.csv"))
    assert calls.count("net") == 1 + 2  # pairs
    assert len(read_rows(tmp_path)) == 2


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy, torch
from scripts.evaluation.methods import Method, affine_only
from scripts.evaluation.comparison import carry_out
from scripts.evaluation.studies import Case, Study
from scripts.evaluation.comparison_table import Results
from scripts.geometry import Grid
def field(image, affine):
    rows.append("row")
    return affine_only(image, affine) if len(rows) < 4 else os.kill(os.getpid(), signal.SIGKILL)
rows, item = [], {"image": torch.zeros(2, 4, 4, 4), "grid": Grid((4, 4, 4), numpy.eye(4))}
cases = [Case(name, "d", lambda: item) for name in "pq"]
methods = [Method("affine", name, "", "", field) for name in ("one", "two")]
study = Study("validation", cases, methods, lambda *_: {"dice": 0.5})
carry_out(study, Results(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "comparison.csv"
    done = subprocess.run([sys.executable, "-c", KILLED, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = read_rows(tmp_path)
    assert [(row["pair"], row["method"]) for row in before] == [("p", "one"), ("p", "two"), ("q", "one")]
    calls: list[str] = []
    carry_out(toy_study(counting(calls, "one", "two"), calls), Results(path))
    assert calls == ["q", "two"]
    assert read_rows(tmp_path)[:3] == before and len(read_rows(tmp_path)) == 4


def test_a_run_killed_while_it_writes_keeps_the_rows_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path / "comparison.csv")
    results.add("validation", "p", "d", AFFINE, {"dice": 0.5})
    before = results.path.read_bytes()
    monkeypatch.setattr(os, "replace", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        results.add("validation", "q", "d", AFFINE, {"dice": 0.6})
    assert results.path.read_bytes() == before
    assert [row["pair"] for row in Results(results.path).rows] == ["p"]


def test_rows_of_another_run_at_the_same_time_are_kept(tmp_path: Path) -> None:
    ours, theirs = (Results(tmp_path / "comparison.csv") for _ in range(2))
    ours.add("validation", "p", "d", AFFINE, {"dice": 0.5, "cpu_seconds": 1.25})
    theirs.add("rescan", "p", "d", AFFINE, {"displacement_mm": 0.1})
    found = Results(tmp_path / "comparison.csv")
    assert [row["study"] for row in found.rows] == ["validation", "rescan"]
    assert found.rows[0]["cpu_seconds"] == 1.25 and "cpu_seconds" not in found.rows[1]
    assert found.has("rescan", "p", "d", AFFINE) and not found.has("rescan", "p", "d", AFFINE._replace(weights="0"))
    assert not found.has("rescan", "p", "other data", AFFINE)


def test_a_table_of_an_earlier_version_is_kept_and_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "comparison.csv"
    path.write_text("study,pair,method,weights,network,dice\nvalidation,p,affine,,,0.25\n")
    results = Results(path)
    assert not results.has("validation", "p", "d", AFFINE)
    results.add("validation", "p", "d", AFFINE, {"dice": 0.5})
    assert [row["dice"] for row in read_rows(tmp_path)] == ["0.25", "0.5"]
    assert "| affine | 1 | 0.5000" in text_of(Results(path), [AFFINE], "p")


def test_summary_is_over_the_pairs_that_are_done(tmp_path: Path) -> None:
    results, methods = Results(tmp_path / "c.csv"), counting([], "syn", "ours")
    for pair, method, dice, cpu in (("p", 0, 0.5, 60), ("p", 1, 0.6, 12), ("q", 0, 0.6, 100), ("r", 1, 0.8, 48)):
        results.add("validation", pair, "d", methods[method], {"dice": dice, "cpu_seconds": cpu})
    results.add("validation", "elsewhere", "d", methods[1], {"dice": 0.0, "cpu_seconds": 1})
    results.add("validation", "q", "earlier data", methods[1], {"dice": 0.0, "cpu_seconds": 1})
    lines = text_of(results, methods, "pqr").splitlines()
    # The ratio is that of p, the pair that both have.
    assert "| syn | 2 | 0.5500 ± 0.0500 | 80.0 ± 20.0 | 1.00 |" in lines
    assert "| ours | 2 | 0.7000 ± 0.1000 | 30.0 ± 18.0 | 0.20 |" in lines
    assert "| q | 0.6000 | – |" in lines and "| mean ± std | 0.5500 ± 0.0500 | 0.7000 ± 0.1000 |" in lines


def test_pictures_are_of_the_pairs_that_all_methods_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, methods = Results(tmp_path / "c.csv"), [AFFINE, *counting([], "syn"), AFFINE._replace(name="msfbnet a")]
    for pair, method, dice in (("p", 0, 0.4), ("q", 0, 0.2), ("p", 1, 0.5), ("p", 2, 0.6), ("q", 2, 0.8)):
        results.add("validation", pair, "d", methods[method], {"dice": dice, "cpu_seconds": 1, "sdlogj": 0.1})
    results.add("rescan", "p", "d", methods[1], {"displacement_mm": 1})
    drawn = {}
    monkeypatch.setattr(comparison_charts, "tradeoff_chart", lambda path, *given: drawn.update({path.name: given}))
    monkeypatch.setattr(comparison_charts, "whole_file", nullcontext)
    studies = {"validation": dict.fromkeys("pq", "d"), "rescan": {"p": "d"}}
    comparison_charts.write_charts(tmp_path, shown_rows(results.rows, methods, studies))
    assert list(drawn) == ["comparison_validation_time.png", "comparison_validation_smoothness.png"]
    means, accuracy, prices, title, ours, before = drawn["comparison_validation_time.png"]
    assert {name: found["dice"] for name, found in means.items()} == {"syn": 0.5, "msfbnet a": 0.6}
    assert (accuracy, prices, ours, before) == ("dice", ["cpu_seconds"], ["msfbnet a"], 0.4)
    assert title == "Validation pairs, mean of 1 pairs"
    assert drawn["comparison_validation_smoothness.png"][2] == ["sdlogj"]
