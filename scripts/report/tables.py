"""The tables of a report, as HTML; every text is escaped, as file names and headers may hold anything."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

_NOTHING = "–"


class _Figure(NamedTuple):
    """A row of the table of figures: name, where its values are in the metrics, unit and meaning."""

    name: str
    before: str | None
    after: str
    unit: str
    meaning: str


_FIGURES = (
    _Figure("Similarity", "lncc_before", "lncc", "", "local correlation of the images (LNCC), 1 is best"),
    _Figure("Label overlap", "dice_before", "dice", "", "mean Dice over the labels, 1 is best"),
    _Figure("Label distance", "hd95_before", "hd95", "mm", "95 % Hausdorff distance of surfaces, 0 is best"),
    _Figure("Landmark error", "tre_before", "tre", "mm", "mean distance of landmarks (TRE), 0 is best"),
    _Figure("Foreground overlap", "foreground_dice_before", "foreground_dice", "", "Dice of brain or head, 1 is best"),
    _Figure("Folding", None, "folding_percent", "%", "voxels whose Jacobian determinant is 0 or less"),
    _Figure("Non-diffeomorphic volume", None, "ndv_percent", "%", "volume that is turned inside out (NDV)"),
    _Figure("Roughness", None, "sdlogj", "", "spread of the log-Jacobian (SDlogJ)"),
    _Figure("Mean displacement", None, "mean_displacement_mm", "mm", "of the deformable part"),
    _Figure("Largest displacement", None, "max_displacement_mm", "mm", "of the deformable part"),
    _Figure("Inverse consistency, mean", None, "inverse_consistency_mean_mm", "mm", "error there and back again"),
    _Figure("Inverse consistency, worst", None, "inverse_consistency_max_mm", "mm", "error there and back again"),
)
# What the page opens with, as far as the registration has it.
_KEY = ("lncc", "dice", "tre", "foreground_dice", "folding_percent", "max_displacement_mm")
_AFFINE = (
    ("Affine rotation", "rotation_degrees", "degrees"),
    ("Affine scale", "scale", ""),
    ("Affine translation", "translation_mm", "mm"),
)
_HEADER = {
    "path": "File",
    "size": "Size, voxels",
    "spacing_mm": "Voxel, mm",
    "orientation": "Orientation",
    "dtype": "Data type",
    "space": "World space from",
}


def number(value: Any, between: str = ", ") -> str:
    """A value as people read it: three digits, `between` those of a list, a dash where there is none."""
    if value is None or isinstance(value, str):
        return value or _NOTHING
    if isinstance(value, Sequence):
        return between.join(number(item) for item in value)
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "not a number"
    if 0 < abs(value) < 1e-4:
        return "< 0.0001"
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}".removesuffix(".")


def key_figures(metrics: Mapping[str, Any]) -> str:
    """The few figures that the page opens with, as list items."""
    items = []
    for figure in _present(metrics):
        if figure.after in _KEY:
            start = f"<small>{escape(number(metrics.get(figure.before)))} →</small> " if figure.before else ""
            end = f"{escape(number(metrics[figure.after]))} <small>{figure.unit}</small>"
            items.append(f'<li><span class="faint">{figure.name}</span><b>{start}{end}</b></li>')
    return "\n".join(items)


def figures_table(metrics: Mapping[str, Any]) -> str:
    """All figures, before and after the deformable part."""
    rows = [
        (
            figure.name,
            number(metrics.get(figure.before)) if figure.before else "",
            f"{number(metrics[figure.after])} {figure.unit}",
        )
        for figure in _present(metrics)
    ]
    meanings = {figure.name: figure.meaning for figure in _FIGURES}
    if refinement := metrics.get("refinement"):
        rows.append(("Refinement", number(refinement["lncc_before"]), number(refinement["lncc_after"])))
        meanings["Refinement"] = f"LNCC gained {number(refinement['gain'])} in {number(refinement['steps'])} steps"
    affine = metrics.get("affine") or {}
    rows += [(name, "", f"{number(affine[key])} {unit}") for name, key, unit in _AFFINE if key in affine]
    return _table(("", "Before", "After"), rows, meanings)


def inputs_table(metrics: Mapping[str, Any]) -> str:
    """Header facts of both images side by side, and what was noticed about them."""
    images = metrics["fixed"], metrics["moving"]
    rows = [(name, *(number(image.get(key), " × ") for image in images)) for key, name in _HEADER.items()]
    notes = "".join(
        f"<li>{role}: {escape(warning)}</li>"
        for role, image in zip(("Fixed", "Moving"), images, strict=True)
        for warning in image.get("warnings") or ()
    )
    return _table(("", "Fixed", "Moving"), rows) + (f'<ul class="warnings">{notes}</ul>' if notes else "")


def stages_table(metrics: Mapping[str, Any]) -> str:
    """Seconds and peak memory of each stage."""
    stages = metrics.get("stages") or {}
    rows = [(name, number(stage.get("seconds")), number(stage.get("peak_memory_mb"))) for name, stage in stages.items()]
    if rows:
        rows.append(("total", number(float(sum(stage["seconds"] for stage in stages.values()))), ""))
    return _table(("Stage", "Seconds", "Peak memory, MB"), rows)


def versions_table(metrics: Mapping[str, Any]) -> str:
    """What it takes to do the same again: options, device, versions, checksums."""
    notes = {key: metrics[key] for key in ("settings", "device", "threads", "versions") if key in metrics}
    checksums = [(f"SHA-256: {role}", number(metrics[role].get("sha256"))) for role in ("fixed", "moving")]
    return _table((), [*_flat(notes), *checksums])


def _flat(notes: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested notes as rows, the names of their levels joined."""
    for key, value in notes.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}: ")
        else:
            yield f"{prefix}{key}", number(value)


def _present(metrics: Mapping[str, Any]) -> list[_Figure]:
    return [figure for figure in _FIGURES if metrics.get(figure.after) is not None]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], notes: Mapping[str, str] | None = None) -> str:
    """Rows of text, the first of each its name; `notes` explain names."""
    lines = []
    for name, *cells in rows:
        note = f'<span class="faint">{escape(notes[name])}</span>' if notes and name in notes else ""
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}{note}</th>{values}</tr>')
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "\n".join(lines)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if heads else ''}<tbody>\n{body}\n</tbody></table>"
