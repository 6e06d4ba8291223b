# SPDX-License-Identifier: Apache-2.0
"""The tables of a report, as HTML. Every text is escaped, as file names and headers may contain any character."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from scripts.metrics import BEFORE, METRICS, NOTHING, Metric
from scripts.report.findings import findings
from scripts.report.signatures import signatures

# The metrics of a registration, in the order of the table.
_SHOWN = (
    "lncc",
    "mutual_information",
    "dice",
    "hd95",
    "tre",
    "tre_bias",
    "quality",
    "foreground_dice",
    "foreground_folding_percent",
    "foreground_ndv_percent",
    "sdlogj",
    "mean_displacement_mm",
    "max_displacement_mm",
    "inverse_consistency_mean_mm",
    "inverse_consistency_max_mm",
)
# Those of them that the page begins with.
_KEY = (
    "lncc",
    "mutual_information",
    "dice",
    "tre",
    "quality",
    "foreground_dice",
    "foreground_folding_percent",
    "max_displacement_mm",
)
_AFFINE = (
    ("Affine rotation", "rotation_degrees", "degrees"),
    ("Affine scale", "scale", ""),
    ("Affine translation", "translation_mm", "mm"),
)
_HEADER = {
    "template": "Template",
    "path": "File",
    "size": "Size, voxels",
    "spacing_mm": "Voxel, mm",
    "orientation": "Orientation",
    "dtype": "Data type",
    "space": "World space from",
}


def number(value: Any, separator: str = ", ") -> str:
    """Text of a value: numbers with three significant digits, a dash for None or an empty text.

    Args:
        value: number, text, list of them, or None.
        separator: text between the items of a list.
    """
    if value is None or isinstance(value, str):
        return value or NOTHING
    if isinstance(value, Sequence):
        return separator.join(number(item) for item in value)
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "not a number"
    if 0 < abs(value) < 1e-4:
        return "< 0.0001"
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}".removesuffix(".")


def key_metrics(metrics: Mapping[str, Any]) -> str:
    """The metrics that the page begins with, as list items."""
    items = []
    for name, metric in _present(metrics):
        if name in _KEY:
            before = metrics.get(name + BEFORE)
            before_text = f"<small>{escape(metric.text(before))} →</small> " if before is not None else ""
            after_text = f"{escape(metric.text(metrics[name]))} <small>{metric.unit}</small>"
            items.append(f'<li><span class="muted">{metric.title}</span><b>{before_text}{after_text}</b></li>')
    return "\n".join(items)


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Table of all metrics, before and after the deformable part."""
    rows, meanings = [], {}
    for name, metric in _present(metrics):
        before = metrics.get(name + BEFORE)
        before_text = metric.text(before) if before is not None else ""
        rows.append((metric.title, before_text, f"{metric.text(metrics[name])} {metric.unit}"))
        meanings[metric.title] = metric.meaning
    if refinement := metrics.get("refinement"):
        lncc = METRICS["lncc"]
        rows.append(("Refinement", lncc.text(refinement["lncc_before"]), lncc.text(refinement["lncc_after"])))
        meanings["Refinement"] = f"LNCC gained {number(refinement['gain'])} in {number(refinement['steps'])} steps"
    if rejected := metrics.get("rejected"):
        information = METRICS["mutual_information"]
        before, after = (information.text(rejected["mutual_information" + at]) for at in (BEFORE, ""))
        rows.append(("Rejected deformation", before, after))
        meanings["Rejected deformation"] = f"Mutual information; not saved. It reached {_reached(rejected)}"
    if landmarks := metrics.get("landmarks"):
        left_out = sorted({name for names in landmarks["left_out"].values() for name in names})
        rows.append(("Landmarks", "", f"{landmarks['count']}, matched by {landmarks['matched_by']}"))
        meanings["Landmarks"] = "In both images" + (f"; not in both: {', '.join(left_out)}" if left_out else "")
    affine = metrics.get("affine") or {}
    rows += [(name, "", f"{number(affine[key])} {unit}") for name, key, unit in _AFFINE if key in affine]
    return _table(("", "Before", "After"), rows, meanings)


def _reached(rejected: Mapping[str, Any]) -> str:
    known = [(METRICS[name], rejected[name]) for name in ("lncc", "dice", "hd95", "tre") if name in rejected]
    return ", ".join(f"{metric.title} {metric.text(value)} {metric.unit}".strip() for metric, value in known)


def label_quality_table(metrics: Mapping[str, Any]) -> str:
    """Table of the mean quality at the border of each label, the least first; empty without labels."""
    means = metrics.get("quality_per_label") or {}
    ordered = sorted(means.items(), key=lambda item: item[1])
    return _table(("Label", "Quality"), [(label, METRICS["quality"].text(mean)) for label, mean in ordered])


def findings_table(metrics: Mapping[str, Any]) -> str:
    """Table of what the scans were found to be, and what was done about it."""
    return _table(("", "Found", "Done about it"), findings(metrics))


def signatures_table(metrics: Mapping[str, Any]) -> str:
    """Table of the signatures of failures: what was found, what it usually means, what to try; empty without any."""
    rows = [(sign.found, sign.meaning, sign.advice) for sign in signatures(metrics)]
    return _table(("Found", "What it usually means", "What to try"), rows) if rows else ""


def inputs_table(metrics: Mapping[str, Any]) -> str:
    """Table of both images' headers, side by side, and the list of warnings about them."""
    images = metrics["fixed"], metrics["moving"]
    shown = {key: name for key, name in _HEADER.items() if any(key in image for image in images)}
    rows = [(name, *(number(image.get(key), " × ") for image in images)) for key, name in shown.items()]
    notes = "".join(
        f"<li>{role}: {escape(warning)}</li>"
        for role, image in zip(("Fixed", "Moving"), images, strict=True)
        for warning in image.get("warnings") or ()
    )
    return _table(("", "Fixed", "Moving"), rows) + (f'<ul class="warnings">{notes}</ul>' if notes else "")


def timings_table(metrics: Mapping[str, Any]) -> str:
    """Table of the seconds and the peak memory of each step."""
    timings = metrics.get("timings") or {}
    rows = [(name, number(step.get("seconds")), number(step.get("peak_memory_mb"))) for name, step in timings.items()]
    if rows:
        rows.append(("total", number(float(sum(step["seconds"] for step in timings.values()))), ""))
    return _table(("Step", "Seconds", "Peak memory, MB"), rows)


def versions_table(metrics: Mapping[str, Any]) -> str:
    """Table of what the result depends on: options, device, versions, checksums of the files."""
    nested = {key: metrics[key] for key in ("settings", "device", "threads", "versions") if key in metrics}
    checksums = [(f"SHA-256: {role}", number(metrics[role].get("sha256"))) for role in ("fixed", "moving")]
    return _table((), [*_flat(nested), *checksums])


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Rows of a nested mapping; the name of a row joins the keys of all levels."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}: ")
        else:
            yield f"{prefix}{key}", number(value)


def _present(metrics: Mapping[str, Any]) -> list[tuple[str, Metric]]:
    """The metrics of the table that have a value."""
    return [(name, METRICS[name]) for name in _SHOWN if metrics.get(name) is not None]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], notes: Mapping[str, str] | None = None) -> str:
    """HTML table.

    Args:
        header: texts of the header; empty for a table without one.
        rows: name and cells of each row.
        notes: explanation of a row, by its name.
    """
    lines = []
    for name, *cells in rows:
        note = f'<span class="muted">{escape(notes[name])}</span>' if notes and name in notes else ""
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}{note}</th>{values}</tr>')
    columns = "".join(f'<th scope="col">{escape(text)}</th>' for text in header)
    body = "\n".join(lines)
    return f"<table>{f'<thead><tr>{columns}</tr></thead>' if header else ''}<tbody>\n{body}\n</tbody></table>"
