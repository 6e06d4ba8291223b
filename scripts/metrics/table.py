"""Tables of metrics: one row per pair, mean and standard deviation below."""

import csv
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

Row = Mapping[str, Any]


def summarise(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each metric over the pairs.

    Args:
        rows: one mapping per pair: `pair`, its name, then metrics; a metric may be missing or NaN in some rows.

    Returns:
        `{metric: {"mean": ..., "std": ...}}`, NaN and missing values left out; the standard deviation is that of the
        population (numpy's, as in Learn2Reg's tables). Both are NaN where no pair has the metric.
    """
    summary = {}
    for metric in _metrics(rows):
        values = np.array([float(row[metric]) for row in rows if metric in row])
        values = values[~np.isnan(values)]
        with np.errstate(invalid="ignore"):  # a lost label has an infinite HD95, and inf - inf is NaN, not an accident
            summary[metric] = {
                "mean": float(values.mean()) if values.size else math.nan,
                "std": float(values.std()) if values.size else math.nan,
            }
    return summary


def write_table(rows: Sequence[Row], path_stem: str | os.PathLike[str]) -> None:
    """Write `<path_stem>.csv` and `<path_stem>.json`: one row per pair, then mean and standard deviation.

    The JSON holds `{"pairs": [...], "summary": {metric: {"mean", "std"}}}`; what isn't finite is null there, and an
    empty cell or `inf` in the CSV. Each file is complete or not there at all: it is renamed when written.

    Args:
        rows: as in `summarise`.
        path_stem: path without suffix; missing folders are made.
    """
    summary = summarise(rows)
    footer = [{"pair": key, **{metric: values[key] for metric, values in summary.items()}} for key in ("mean", "std")]

    def write_csv(file: TextIO) -> None:
        writer = csv.DictWriter(file, ["pair", *summary])
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in [*rows, *footer])

    def write_json(file: TextIO) -> None:
        json.dump(finite_or_none({"pairs": list(rows), "summary": summary}), file, indent=2, allow_nan=False)

    write_complete(Path(f"{os.fspath(path_stem)}.csv"), write_csv)
    write_complete(Path(f"{os.fspath(path_stem)}.json"), write_json)


def _metrics(rows: Sequence[Row]) -> list[str]:
    """Names of all metrics, in order of first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row if key != "pair"))


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


def finite_or_none(value: Any) -> Any:
    """JSON has no NaN and no infinity: None in their place, in nested mappings and lists too."""
    if isinstance(value, Mapping):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_complete(path: Path, write: Callable[[TextIO], None]) -> None:
    """Write a text file beside its place and rename it, so that it is complete or not there at all.

    Args:
        path: of the file; missing folders are made.
        write: writes the content to the open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with open(partial, "w", newline="", encoding="utf-8") as file:
            write(file)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
