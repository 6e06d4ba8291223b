# SPDX-License-Identifier: Apache-2.0
"""Mean and standard deviation over pairs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def summarize(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each metric over the pairs.

    Args:
        rows: one mapping per pair with its name, `pair`, and metrics; a metric may be missing or NaN in some rows.

    Returns:
        `{metric: {"mean": ..., "std": ...}}` without NaN and missing values. The standard deviation is that of the
        population, as in Learn2Reg's tables. Both are NaN if no pair has the metric.
    """
    summary = {}
    for metric in _metrics(rows):
        values = np.array([float(row[metric]) for row in rows if metric in row])
        values = values[~np.isnan(values)]
        with np.errstate(invalid="ignore"):  # HD95 may be infinite, see `hd95_per_label`; inf - inf is NaN
            summary[metric] = {
                "mean": float(values.mean()) if values.size else math.nan,
                "std": float(values.std()) if values.size else math.nan,
            }
    return summary


def _metrics(rows: Sequence[Row]) -> list[str]:
    """Names of all metrics, in the order in which they first appear."""
    return list(dict.fromkeys(key for row in rows for key in row if key != "pair"))
