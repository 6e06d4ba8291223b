# SPDX-License-Identifier: Apache-2.0
"""The report of one registration: one HTML file that opens offline and says whether the result can be used."""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.io import scan_name, write_complete
from scripts.report.charts import color_scale, histogram, quality_scale
from scripts.report.commands import WARPS, Reuse
from scripts.report.panels import FOREGROUND, outline_panel, panels, quality_panel
from scripts.report.tables import (
    findings_table,
    inputs_table,
    key_metrics,
    label_quality_table,
    metrics_table,
    signatures_table,
    timings_table,
    versions_table,
)

_ASSETS = Path(__file__).parent
_VERDICTS = {"pass": ("✓", "Pass"), "look": ("!", "Look"), "fail": ("✗", "Fail")}


def registration_report(
    path: str | os.PathLike[str],
    fixed: NDArray[np.float32],
    before: NDArray[np.float32],
    moved: NDArray[np.float32],
    field: NDArray[np.float32],
    metrics: Mapping[str, Any],
    commands: Sequence[Reuse],
    spacing: float = 1.0,
    warps: tuple[str, str] = WARPS,
    heads: Mapping[str, tuple[NDArray[np.float32], NDArray[np.bool_]]] | None = None,
    quality: NDArray[np.float32] | None = None,
) -> None:
    """Write the report: verdict, pictures in three planes, metrics, headers, and commands that reuse the warp.

    The page loads nothing from elsewhere, and the same input gives the same bytes. The file is complete or not there
    at all. The volumes are on the network's grid: RAS axes, every size at least 3.

    Args:
        path: HTML file to write.
        fixed: fixed image, `(X, Y, Z)` in [0, 1], background 0.
        before: moving image after the affine alignment, the same shape and range.
        moved: moving image after affine alignment and deformation, the same shape and range.
        field: displacement field of the deformable part, `(3, X, Y, Z)`, voxels.
        metrics: content of metrics.json; an entry that is missing or None is left out or shown as a dash.
        commands: commands to show, see `reuse_commands`.
        spacing: edge length of the grid's cubic voxels, mm.
        warps: names of the files of the warp and of its inverse.
        heads: whole heads whose brain was found: by role, the scan `(X, Y, Z)` in [0, 1] and the mask.
        quality: where the result can be trusted, `(X, Y, Z)` in [0, 1], NaN outside the fixed foreground; without it
            the page does not speak of it.

    Raises:
        ValueError: if shapes do not fit each other, or `metrics["verdict"]` is not pass, look or fail.
    """
    if fixed.ndim != 3 or not fixed.shape == before.shape == moved.shape or field.shape != (3, *fixed.shape):
        raise ValueError(
            "expected three images (X, Y, Z) and a field (3, X, Y, Z), got "
            f"{fixed.shape}, {before.shape}, {moved.shape} and {field.shape}"
        )
    if metrics["verdict"] not in _VERDICTS:
        raise ValueError(f"the verdict is one of {', '.join(_VERDICTS)}, not {metrics['verdict']}")
    parts = {
        **_head(metrics),
        **panels(fixed, before, moved, field),
        "scale": color_scale(),
        "histogram": histogram(spacing * np.linalg.norm(field[:, fixed > FOREGROUND], axis=0)),
        "findings": findings_table(metrics),
        "signatures": _signature_section(metrics),
        "heads": "\n".join(_head_section(role, *head) for role, head in (heads or {}).items()),
        "quality": _quality_section(fixed, quality, metrics) if quality is not None else "",
        "tiles": key_metrics(metrics),
        "metrics": metrics_table(metrics),
        "inputs": inputs_table(metrics),
        "timings": timings_table(metrics),
        "versions": versions_table(metrics),
        "directions": "\n".join(_directions(metrics, warps)),
        "commands": "\n".join(_command(index, command) for index, command in enumerate(commands)),
    }
    page = Template(_asset("report.html")).substitute(parts)
    write_complete(Path(path), lambda file: print(page, end="", file=file))


def scan_names(fixed: str, moving: str) -> tuple[str, str]:
    """Short names of two image files: without folder and suffix, or with both where they would be the same."""
    names = [scan_name(path) for path in (fixed, moving)]
    if names[0] == names[1]:
        names = ["/".join(Path(path).parts[-2:]) for path in (fixed, moving)]
    return names[0], names[1]


def _head(metrics: Mapping[str, Any]) -> dict[str, str]:
    script = _asset("report.js")
    sign, word = _VERDICTS[metrics["verdict"]]
    fixed_name, moving_name = scan_names(metrics["fixed"]["path"], metrics["moving"]["path"])
    return {
        "style": _asset("report.css"),
        "script": script,
        # The page's content security policy allows this script only, so none in a file name can run.
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "verdict": metrics["verdict"],
        "verdict_sign": sign,
        "verdict_word": word,
        "fixed_name": escape(fixed_name),
        "moving_name": escape(moving_name),
        "reasons": "".join(f"<li>{escape(reason)}</li>" for reason in metrics["reasons"]),
    }


def _signature_section(metrics: Mapping[str, Any]) -> str:
    table = signatures_table(metrics)
    if not table:
        return ""
    note = "Patterns that failures leave in the figures; how often they are right: docs/results.md."
    return (
        f'<section class="card" id="signatures"><h2>What may have gone wrong</h2><p class="muted">{note}</p>'
        f'<div class="table">\n{table}\n</div></section>'
    )


def _head_section(role: str, head: NDArray[np.float32], brain: NDArray[np.bool_]) -> str:
    return (
        f'<section class="card"><h2>Brain found in the {role} scan</h2><p class="muted">The line should follow the '
        "outline of the brain. Where it cuts off brain, or takes in what is around, give a mask of your own "
        f'(--{role}_mask).</p><div class="planes">\n{outline_panel(head, brain)}\n</div></section>'
    )


def _quality_section(fixed: NDArray[np.float32], quality: NDArray[np.float32], metrics: Mapping[str, Any]) -> str:
    labels = ""
    if metrics.get("quality_per_label"):
        labels = (
            "<details><summary>Mean at the border of each label of the fixed scan</summary>"
            f'<div class="table">{label_quality_table(metrics)}</div></details>'
        )
    return (
        '<section class="card" id="quality"><h2>Where to trust it</h2><p class="muted">The estimated probability that '
        "the border of a label in this place is at most 1 mm off: of the borders where it says 0.8, about 80 % are. It "
        "comes from how well the images agree around a voxel, and the fields of both orders of the pair; how "
        f'true it is: docs/results.md.</p><div class="planes">\n{quality_panel(fixed, quality)}\n</div>'
        f"{quality_scale()}{labels}</section>"
    )


def _directions(metrics: Mapping[str, Any], warps: tuple[str, str]) -> list[str]:
    """Which scan each warp moves, as list items."""
    paths = [metrics[role]["path"] for role in ("fixed", "moving")]
    fixed, moving = (
        f"{escape(name)} ({role})" for name, role in zip(scan_names(*paths), ("fixed", "moving"), strict=True)
    )
    items = []
    warp, inverse = (escape(Path(name).name) for name in warps)
    for file, source, target, role in ((warp, moving, fixed, "moving"), (inverse, fixed, moving, "fixed")):
        use = ": use it to move an atlas of the template onto your scan" if "template" in metrics[role] else ""
        items.append(f"<li><strong>{file}</strong> brings images and label maps of {source} onto {target}{use}.</li>")
    return [*items, f"<li>Points go the other way: {warp} maps points of the fixed to the moving scan.</li>"]


def _command(index: int, command: Reuse) -> str:
    return (
        f'<div class="command"><h3>{escape(command.tool)}</h3>'
        f'<button type="button" class="copy" data-copy="command-{index}" aria-label="Copy the {escape(command.tool)} '
        f'command">Copy</button><pre id="command-{index}" tabindex="0">{escape(command.text)}</pre>'
        f'<p class="muted">{escape(command.note)}</p></div>'
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
