# SPDX-License-Identifier: Apache-2.0
"""Curves of a study: means with confidence intervals, the point where a method breaks, names of its files."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from scripts.report import Curve

LIMIT_MM = 2.0  # a method breaks where its mean error exceeds this


def curve(values: Mapping[float, Sequence[float]]) -> Curve:
    """The curve of values by place, with Student's 95 % confidence interval over the values of each place.

    Args:
        values: the values at each place; values that are not finite are left out, and places without any.
    """
    finite = {place: [value for value in values[place] if np.isfinite(value)] for place in sorted(values)}
    finite = {place: found for place, found in finite.items() if found}
    mean = np.array([np.mean(found) for found in finite.values()])
    half = np.array([_half_width(found) for found in finite.values()])
    return Curve(np.array(list(finite), dtype=float), mean, mean - half, mean + half)


def breaking_point(errors: Curve) -> str:
    """Where the mean error first exceeds `LIMIT_MM`, by linear interpolation, as text.

    Returns:
        The place; `below X` if it is exceeded at the first place X, `above X` if up to the last place X it is not.
    """
    over = np.flatnonzero(errors.mean > LIMIT_MM)
    if not len(errors.places):
        return "–"
    if not over.size:
        return f"above {errors.places[-1]:g}"
    last = over[0]
    if last == 0:
        return f"below {errors.places[0]:g}"
    return f"{np.interp(LIMIT_MM, errors.mean[[last - 1, last]], errors.places[[last - 1, last]]):.3g}"


def file_name(method: str) -> str:
    """A method's name as a part of a file's."""
    return re.sub(r"\W+", "_", method)


def _half_width(values: Sequence[float]) -> float:
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
