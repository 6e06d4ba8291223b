"""Mean and standard deviation over pairs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def summarize(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
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


def _metrics(rows: Sequence[Row]) -> list[str]:
    """Names of all metrics, in order of first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row if key != "pair"))
