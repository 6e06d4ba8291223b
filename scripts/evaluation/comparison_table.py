# SPDX-License-Identifier: Apache-2.0
"""The rows of a comparison: kept in a CSV file while they are measured, then shown as Markdown tables."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from scripts.evaluation.markdown import markdown_table
from scripts.evaluation.methods import Method
from scripts.io import write_complete
from scripts.metrics import METRICS, summarize
from scripts.runtime import InputError

Row = dict[str, Any]
ByMethod = Mapping[str, Mapping[str, Row]]  # rows by method and pair

_KEYS = ("study", "pair", "method", "weights", "network")
_DATA = "data"  # a key, too, which tables of versions before 0.9 do not have
_COLUMNS = (
    "dice",
    "hd95",
    "tre",
    "displacement_mm",
    "ndv_percent",
    "foreground_ndv_percent",
    "sdlogj",
    "lncc",
    "mutual_information",
    "inverse_consistency_mm",
    "rejected",
    "seconds",
    "cpu_seconds",
    "peak_memory_mb",
)
_PAIR_BY_PAIR = ("dice", "tre", "displacement_mm")  # metrics that are shown pair by pair, too
_TITLES = {"validation": "Validation pairs", "rescan": "One person scanned twice"}


class Results:
    """Rows of metrics, each written to the file as soon as it is added, after those that the file has already.

    Args:
        path: CSV file with the columns `study`, `pair`, `method`, `weights` (SHA-256 of the file), `network`, `data`
            (see `studies.Case`), then the metrics.

    Raises:
        InputError: if the file exists and is no such table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = _read(path)

    def has(self, study: str, pair: str, data: str, method: Method) -> bool:
        """Whether there is a row of this pair and method, with the same data, and the same weights in one network."""
        return any(row["pair"] == pair and row[_DATA] == data and _same(row, study, method) for row in self.rows)

    def add(self, study: str, pair: str, data: str, method: Method, metrics: Mapping[str, float]) -> None:
        """Add a row and write the file."""
        key = dict(zip(_KEYS, (study, pair, method.name, method.weights, method.network), strict=True))
        key[_DATA] = data
        # Read again: another run may have added rows since.
        self.rows = [*_read(self.path), {**key, **metrics}]

        def write(file: TextIO) -> None:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in self.rows for name in row)))
            writer.writeheader()
            writer.writerows(self.rows)

        write_complete(self.path, write)


def shown_rows(
    rows: Sequence[Row], methods: Sequence[Method], studies: Mapping[str, Mapping[str, str]]
) -> dict[str, ByMethod]:
    """The rows of these methods and pairs, by study, method and pair.

    Args:
        rows: rows of `Results`.
        methods: methods to show, in this order.
        studies: name of each study, and the names of its pairs with their data.
    """
    return {
        study: {
            method.name: {
                row["pair"]: row for row in rows if row[_DATA] == pairs.get(row["pair"]) and _same(row, study, method)
            }
            for method in methods
        }
        for study, pairs in studies.items()
    }


def comparison_text(
    shown: Mapping[str, ByMethod], methods: Sequence[Method], studies: Mapping[str, Mapping[str, str]]
) -> str:
    """The tables in Markdown.

    Args:
        shown: rows as `shown_rows` returns them.
        methods, studies: as for `shown_rows`.
    """
    parts = [
        "# Comparison\n\nMean ± standard deviation over the pairs; NDV where the moving image is above 0; both orders: "
        "how far a point of the fixed brain is from itself after both fields; taken back: share of the pairs whose "
        "deformation made the images less alike, so that the affine map is the result; seconds, CPU seconds (all "
        "threads) and the process's peak memory are those of the field alone.\n"
    ]
    for study, by_method in shown.items():
        parts.append(f"## {study_title(study)}\n\n{_summary(by_method)}")
        for metric in _PAIR_BY_PAIR:
            if any(metric in row for rows in by_method.values() for row in rows.values()):
                heading = METRICS[metric].heading
                parts.append(f"### {heading} of each pair\n\n{_pair_by_pair(by_method, list(studies[study]), metric)}")
    weights = [f"- {method.name}: {method.weights}" for method in methods if method.weights]
    return "\n".join([*parts, *(["## Weights, sha256\n", *weights] if weights else [])]) + "\n"


def study_title(study: str) -> str:
    """Title of a study."""
    return _TITLES.get(study, study[:1].upper() + study[1:])


def mean_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """Mean of each metric over rows."""
    return {name: found["mean"] for name, found in summarize([_floats(row) for row in rows]).items()}


def _same(row: Row, study: str, method: Method) -> bool:
    """Whether a row is of this method, with the same weights in the same network."""
    key = (row["study"], row["method"], row["weights"], row["network"])
    return key == (study, method.name, method.weights, method.network)


def _summary(by_method: ByMethod) -> str:
    """One row for each method: the means, and the CPU time as a ratio to SyN's on the same pairs."""
    summaries = {name: summarize([_floats(row) for row in rows.values()]) for name, rows in by_method.items()}
    shown = [name for name in _COLUMNS if any(name in summary for summary in summaries.values())]
    header = ["method", "pairs", *(METRICS[name].heading for name in shown), "CPU ÷ syn"]
    body = []
    for method, rows in by_method.items():
        cells = [_mean_and_std(summaries[method].get(name), METRICS[name].form) for name in shown]
        body.append([method, str(len(rows)), *cells, _ratio(rows, by_method.get("syn", {}))])
    return markdown_table(header, body)


def _pair_by_pair(by_method: ByMethod, pairs: Sequence[str], metric: str) -> str:
    """One row for each pair, one column for each method that has the metric."""
    measured = {name: rows for name, rows in by_method.items() if any(metric in row for row in rows.values())}
    form = METRICS[metric].form
    body = [
        [
            pair,
            *(f"{row[metric]:{form}}" if metric in (row := rows.get(pair, {})) else "–" for rows in measured.values()),
        ]
        for pair in pairs
    ]
    means = [summarize([_floats(row) for row in rows.values()])[metric] for rows in measured.values()]
    body.append(["mean ± std", *(_mean_and_std(mean, form) for mean in means)])
    return markdown_table(["fixed_moving", *measured], body)


def _ratio(rows: Mapping[str, Row], syn: Mapping[str, Row]) -> str:
    """CPU seconds of a method divided by those of SyN, over the pairs that both have."""
    common = [(rows[pair]["cpu_seconds"], syn[pair]["cpu_seconds"]) for pair in rows if pair in syn]
    return f"{sum(ours for ours, _ in common) / sum(theirs for _, theirs in common):.2f}" if common else "–"


def _mean_and_std(summary: Mapping[str, float] | None, form: str) -> str:
    if summary is None or math.isnan(summary["mean"]):
        return "–"
    return f"{summary['mean']:{form}} ± {summary['std']:{form}}"


def _floats(row: Row) -> Row:
    """The metrics of a row."""
    return {name: value for name, value in row.items() if name not in (*_KEYS, _DATA)}


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not set(_KEYS) <= set(reader.fieldnames or ()):
                raise ValueError
            texts = (*_KEYS, _DATA)
            return [
                {_DATA: ""}
                | {key: cell if key in texts else float(cell) for key, cell in row.items() if key in texts or cell}
                for row in reader
            ]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: no table of an earlier comparison; move it away or choose another --output_dir"
        ) from error
