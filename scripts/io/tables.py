"""Tables of metrics as files: one row per pair, mean and standard deviation below."""

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from scripts.io.writing import write_complete
from scripts.metrics import Row, summarise


def write_table(rows: Sequence[Row], path_stem: str | os.PathLike[str]) -> None:
    """Write `<path_stem>.csv` and `<path_stem>.json`: one row per pair, then mean and standard deviation.

    The JSON holds `{"pairs": [...], "summary": {metric: {"mean", "std"}}}`; what isn't finite is null there, and an
    empty cell or `inf` in the CSV.

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


def finite_or_none(value: Any) -> Any:
    """JSON has no NaN and no infinity: None in their place, in nested mappings and lists too."""
    if isinstance(value, Mapping):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_summary(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    print(f"{len(rows)} pairs, mean ± standard deviation\n{'':<30}{'before':<20}after")
    summary = summarise(rows)
    for metric, after in summary.items():
        if not metric.endswith("_before") and not math.isnan(after["mean"]):
            print(f"  {metric:<28}{_shown(summary.get(f'{metric}_before')):<20}{_shown(after)}")
    print(f"table: {file}")


def _shown(summary: Mapping[str, float] | None) -> str:
    return "" if summary is None else f"{summary['mean']:.4g} ± {summary['std']:.2g}"


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value
