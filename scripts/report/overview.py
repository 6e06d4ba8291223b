# SPDX-License-Identifier: Apache-2.0
"""The page that lists many registrations, the poorest first."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from scripts.io import write_complete
from scripts.metrics import BEFORE, METRICS, NOTHING

_FOLDER = Path(__file__).parent
_WORDS = {
    "error": "not registered",
    "fail": "✗ fail",
    "look": "! look",
    "pass": "✓ pass",
    "skipped": "skipped",
}
_FIGURES = ("lncc", "foreground_dice", "foreground_folding_percent", "max_displacement_mm")


@dataclass(frozen=True)
class Listed:
    """A scan in the list.

    Attributes:
        name: its name.
        space: name of the fixed space.
        verdict: pass, look, fail; `error` of a scan that could not be registered, `skipped` of one that was left out.
        reasons: for the verdict, the gravest first.
        report: address of its report, relative to the page; None without one.
        metrics: content of metrics.json.
    """

    name: str
    space: str
    verdict: str
    reasons: Sequence[str]
    report: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


def overview(path: str | os.PathLike[str], title: str, listed: Sequence[Listed]) -> None:
    """Write the page: verdict, figures and a link to the report of each registration, the poorest first.

    It loads nothing from elsewhere. The file is complete or not there at all.

    Args:
        path: HTML file to write.
        title: title of the page.
        listed: the registrations, in any order.
    """
    counts = Counter(row.verdict for row in listed)
    heads = ["Verdict", "Scan", "Space", *(_head(name) for name in _FIGURES)]
    parts = {
        "style": (_FOLDER / "report.css").read_text(encoding="utf-8"),
        "title": escape(title),
        "counts": ", ".join(f"{counts[verdict]} {word}" for verdict, word in _WORDS.items() if counts[verdict]),
        "heads": "".join(f'<th scope="col">{head}</th>' for head in heads),
        "rows": "\n".join(_row(row) for row in sorted(listed, key=_order)),
    }
    page = Template((_FOLDER / "overview.html").read_text(encoding="utf-8")).substitute(parts)
    write_complete(Path(path), lambda file: print(page, end="", file=file))


def _order(row: Listed) -> tuple[int, float, str, str]:
    lncc = row.metrics.get("lncc")
    return list(_WORDS).index(row.verdict), -math.inf if lncc is None else lncc, row.name, row.space


def _head(name: str) -> str:
    metric = METRICS[name]
    return escape(f"{metric.title}, {metric.unit}" if metric.unit else metric.title)


def _row(row: Listed) -> str:
    name = escape(row.name)
    if row.report is not None:
        name = f'<a href="{escape(quote(row.report))}">{name}</a>'
    figures = "".join(f"<td>{_figure(figure, row.metrics)}</td>" for figure in _FIGURES)
    why = f'<span class="muted">{"; ".join(escape(reason) for reason in row.reasons)}</span>'
    verdict = f'<td class="{row.verdict}">{_WORDS[row.verdict]}</td>'
    return f'<tr>{verdict}<th scope="row">{name}{why}</th><td>{escape(row.space)}</td>{figures}</tr>'


def _figure(name: str, metrics: Mapping[str, Any]) -> str:
    texts = [METRICS[name].text(metrics[key]) for key in (name + BEFORE, name) if metrics.get(key) is not None]
    return escape(" → ".join(texts)) or NOTHING
