# SPDX-License-Identifier: Apache-2.0
"""Tables of metrics as files: one row per pair, mean and standard deviation below."""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from scripts.io.writing import write_complete, write_json
from scripts.metrics import BEFORE, METRICS, Row, summarize


def write_table(rows: Sequence[Row], path_stem: str | os.PathLike[str]) -> None:
    """Write `<path_stem>.csv` and `<path_stem>.json`: one row per pair, then mean and standard deviation.

    The JSON holds `{"pairs": [...], "summary": {metric: {"mean", "std"}}}`; what isn't finite is null there, and an
    empty cell or `inf` in the CSV.

    Args:
        rows: as in `summarize`.
        path_stem: path without suffix; missing folders are made.
    """
    summary = summarize(rows)
    footer = [{"pair": key, **{metric: values[key] for metric, values in summary.items()}} for key in ("mean", "std")]

    def write_csv(file: TextIO) -> None:
        writer = csv.DictWriter(file, ["pair", *summary])
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in [*rows, *footer])

    write_complete(Path(f"{os.fspath(path_stem)}.csv"), write_csv)
    write_json(Path(f"{os.fspath(path_stem)}.json"), {"pairs": list(rows), "summary": summary})


def print_summary(rows: Sequence[Row], file: Path) -> None:
    """Print mean and standard deviation of each metric, before and after the deformable part.

    Args:
        rows: as in `summarize`.
        file: the table's file, to name it.
    """
    print(f"{len(rows)} pairs, mean ± standard deviation\n{'':<30}{'before':<20}after")
    summary = summarize(rows)
    for metric, after in summary.items():
        if not metric.endswith(BEFORE) and not math.isnan(after["mean"]):
            form = METRICS[metric].form if metric in METRICS else ".4g"
            before = _mean_and_std(summary.get(metric + BEFORE), form)
            print(f"  {metric:<28}{before:<20}{_mean_and_std(after, form)}")
    print(f"table: {file}")


def _mean_and_std(summary: Mapping[str, float] | None, form: str) -> str:
    return "" if summary is None else f"{summary['mean']:{form}} ± {summary['std']:{form}}"


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value
