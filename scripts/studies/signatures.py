# SPDX-License-Identifier: Apache-2.0
"""Where the limits of `report.signatures` come from, and how often each signature is right.

The cases are our registrations of the studies of deformations and of alignment. One is broken if its mean error, or its
mean distance from its twin, exceeds `LIMIT_MM`.
"""

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from scripts.evaluation.comparison_table import Results
from scripts.evaluation.markdown import markdown_table, write_markdown
from scripts.evaluation.methods import OURS
from scripts.io import check_folder, write_complete
from scripts.report import (
    FEWEST_LANDMARKS,
    LOW_DICE,
    ROUGH_NDV_PERCENT,
    SHIFTED_MM,
    Curve,
    band_chart,
    signatures,
)
from scripts.runtime import InputError
from scripts.studies.alignment import AMOUNTS, TWIN
from scripts.studies.curves import LIMIT_MM

SOURCES = ("known deformations", "misaligned pairs")

Row = dict[str, Any]


class Case(NamedTuple):
    """A registration whose error is known.

    Attributes:
        source: one of `SOURCES`.
        name: what was done to the scan, and the method.
        group: the person, or the two people, whom it is about.
        broken: whether it is.
        ndv: NDV in the foreground, percent.
        dice: mean Dice of the labels.
        bias: length of the mean error in the brain, mm; NaN where it is not known.
    """

    source: str
    name: str
    group: str
    broken: bool
    ndv: float
    dice: float
    bias: float


class Rule(NamedTuple):
    """A signature as a limit of one figure.

    Attributes:
        name: name of the signature.
        shown: the figure, in words.
        score: the figure of a case, so that larger is worse.
        applies: whether the signature is looked for in a case.
        limit: the program's limit of the score; a case above it has the signature.
        sign: the figure is `sign` times the score.
    """

    name: str
    shown: str
    score: Callable[[Case], float]
    applies: Callable[[Case], bool]
    limit: float
    sign: int = 1

    def of(self, cases: Sequence[Case]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Scores of cases, and which of them are broken."""
        return np.array([self.score(case) for case in cases]), np.array([case.broken for case in cases], bool)


RULES = (
    Rule("rough", "NDV in the brain (%)", lambda case: case.ndv, lambda case: True, ROUGH_NDV_PERCENT),
    Rule(
        "unmatched",
        "Dice",
        lambda case: -case.dice,
        lambda case: case.ndv <= ROUGH_NDV_PERCENT,
        -LOW_DICE,
        sign=-1,
    ),
    Rule(
        "shifted",
        "length of the mean error (mm)",
        lambda case: case.bias,
        lambda case: case.dice >= LOW_DICE and np.isfinite(case.bias),
        SHIFTED_MM,
    ),
)


def study_signatures(deformations: str, alignment: str, output_dir: str) -> None:
    """Measure how well each signature tells broken from right registrations; write `signatures.csv`, `.md` and `.png`.

    Args:
        deformations: folder of a study of deformations, with the methods `msfbnet` or `refined`.
        alignment: folder of a study of alignment, with the methods `msfbnet` or `refined`.
        output_dir: folder for the results.

    Raises:
        InputError: if a folder has no such study.
    """
    check_folder(output_dir)
    cases = [
        *_deformed(_rows(Path(deformations) / "deformations.csv")),
        *_misaligned(_rows(Path(alignment) / "alignment.csv")),
    ]
    out = Path(output_dir)
    _write_cases(out / "signatures.csv", cases)
    panels: dict[str, dict[str, Curve]] = {}
    table = []
    for rule in RULES:
        panels[f"{rule.name}: {rule.shown}"] = curves = {}
        for source in SOURCES:
            shown = [case for case in cases if case.source == source and rule.applies(case)]
            scores, broken = rule.of(shown)
            if broken.any() and not broken.all():
                curves[source] = roc_curve(scores, broken)
                table.append([rule.name, source, *_cells(rule, shown)])
    counts = ("broken ones found", "right ones flagged")
    header = [
        "signature",
        "cases",
        "right",
        "broken",
        "AUC",
        "limit that fits",
        *(f"others' limits: {n}" for n in counts),
    ]
    header += ["program's limit", *counts]
    text = f"""# Signatures of failures

Registrations by this bundle; broken ones are more than {LIMIT_MM:g} mm off in the mean. AUC: how often a broken one has
the worse figure than a right one. The limit that fits has the largest difference of both shares. Others' limits: each
person, or pair, is judged by the limit that fits the others of the same study.

{markdown_table(header, table)}"""
    write_markdown(out / "signatures.md", text)
    band_chart(out / "signatures.png", panels, "share of the right ones flagged")


def _write_cases(path: Path, cases: Sequence[Case]) -> None:
    """The cases, and which signatures the program finds in them."""

    def write(file: TextIO) -> None:
        writer = csv.writer(file)
        writer.writerow([*Case._fields, *(rule.name for rule in RULES)])
        for case in cases:
            found = _signatures_of(case)
            writer.writerow([*case, *(rule.name in found for rule in RULES)])

    write_complete(path, write)


def _signatures_of(case: Case) -> set[str]:
    """Names of the signatures of a case; its bias stands for that of landmarks."""
    landmarks = {"tre": case.bias, "tre_bias": case.bias, "landmarks": {"count": FEWEST_LANDMARKS}}
    figures = {"foreground_ndv_percent": case.ndv, "dice": case.dice, **landmarks}
    return {signature.name for signature in signatures(figures)}


def roc_curve(scores: NDArray[np.float64], broken: NDArray[np.bool_]) -> Curve:
    """Share of the broken ones that have a score above a limit, by that of the right ones, for all limits.

    Args:
        scores: `(N,)`, larger is worse.
        broken: `(N,)`, both kinds occur.
    """
    limits = np.array([np.inf, *np.unique(scores)[::-1], -np.inf])
    flagged, found = (np.array([(scores[kind] > limit).mean() for limit in limits]) for kind in (~broken, broken))
    return Curve(flagged, found, found, found)


def best_limit(scores: NDArray[np.float64], broken: NDArray[np.bool_]) -> float:
    """The limit above which are the most of the broken and the fewest of the right ones, in shares (Youden).

    Args:
        scores: `(N,)`, larger is worse.
        broken: `(N,)`, both kinds occur.

    Returns:
        One of the scores; the largest of those that are equally good.
    """
    limits = np.unique(scores)
    gains = np.array([(scores[broken] > limit).mean() - (scores[~broken] > limit).mean() for limit in limits])
    return float(limits[np.isclose(gains, gains.max())].max())


def _cells(rule: Rule, cases: Sequence[Case]) -> list[str]:
    """What the table says of a signature in the cases of one study."""
    scores, broken = rule.of(cases)
    groups = np.array([case.group for case in cases])
    limits = np.full(len(cases), np.nan)  # of a group: what fits the others
    for group in np.unique(groups):
        others = groups != group
        if broken[others].any() and not broken[others].all():
            limits[~others] = best_limit(scores[others], broken[others])
    area = mannwhitneyu(scores[broken], scores[~broken]).statistic / (broken.sum() * (~broken).sum())
    known = np.isfinite(limits)
    return [
        str((~broken).sum()),
        str(broken.sum()),
        f"{area:.2f}",
        f"{rule.sign * best_limit(scores, broken):.2g}",
        *_counts(scores[known] > limits[known], broken[known]),
        f"{rule.sign * rule.limit:g}",
        *_counts(scores > rule.limit, broken),
    ]


def _counts(flagged: NDArray[np.bool_], broken: NDArray[np.bool_]) -> list[str]:
    """Broken ones and right ones that are flagged, of how many."""
    return [f"{flagged[kind].sum()} of {kind.sum()}" for kind in (broken, ~broken)]


def _rows(path: Path) -> list[Row]:
    """The rows of a study."""
    if not path.exists():
        raise InputError(f"{path}: not found; python -m scripts study {path.stem} writes it")
    return Results(path).rows


def _is_ours(row: Row) -> bool:
    return bool(row["method"].startswith(OURS))


def _deformed(rows: Sequence[Row]) -> Iterator[Case]:
    for row in filter(_is_ours, rows):
        person = row["pair"].rpartition(" field ")[0]
        broken = row["error_mm"] > LIMIT_MM
        yield Case(SOURCES[0], _name(row), person, broken, row["ndv_percent"], row["dice"], row["bias_mm"])


def _misaligned(rows: Sequence[Row]) -> Iterator[Case]:
    kinds = "|".join(map(re.escape, (*AMOUNTS, TWIN[0])))
    for row in filter(_is_ours, rows):
        if not row["refused"]:
            pair = re.split(f" (?:{kinds}) ", row["pair"])[0]
            broken = row["distance_mm"] > LIMIT_MM
            yield Case(SOURCES[1], _name(row), pair, broken, row["foreground_ndv_percent"], row["dice"], math.nan)


def _name(row: Row) -> str:
    return f"{row['pair']}, {row['method']}"
