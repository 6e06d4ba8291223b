"""The report of one registration: a single page that opens offline and tells whether the result can be used."""

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
from scripts.report.charts import colour_scale, histogram
from scripts.report.commands import Reuse
from scripts.report.panels import FOREGROUND, panels
from scripts.report.tables import inputs_table, key_metrics, metrics_table, timings_table, versions_table

_HERE = Path(__file__).parent
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
) -> None:
    """Write the report: verdict, pictures in three planes, figures, headers, and commands that reuse the warp.

    Nothing in it is loaded from elsewhere, and the same input makes the same bytes. It appears under its name only
    when it is complete. The volumes are on the network's grid: RAS axes, every size at least 3.

    Args:
        path: the HTML file to write.
        fixed: `(X, Y, Z)` in [0, 1], the background darkest.
        before: the same, the moving image after the affine alignment.
        moved: the same, after the deformable part, too.
        field: `(3, X, Y, Z)`, the deformable part, voxels.
        metrics: content of metrics.json; what is missing or None in it is left out or shown as a dash.
        commands: see `reuse_commands`.
        spacing: edge of the grid's voxels, mm.

    Raises:
        ValueError: for shapes that do not fit each other, or a verdict that is none.
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
        "scale": colour_scale(),
        "histogram": histogram(spacing * np.linalg.norm(field[:, fixed > FOREGROUND], axis=0)),
        "tiles": key_metrics(metrics),
        "metrics": metrics_table(metrics),
        "inputs": inputs_table(metrics),
        "timings": timings_table(metrics),
        "versions": versions_table(metrics),
        "commands": "\n".join(_command(index, command) for index, command in enumerate(commands)),
    }
    page = Template(_asset("report.html")).substitute(parts)
    write_complete(Path(path), lambda file: print(page, end="", file=file))


def scan_names(fixed: str, moving: str) -> tuple[str, str]:
    """Short names of two files: without folder and ending, but with both where they would be the same."""
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
        # The page's policy lets only this script run, should a file name ever smuggle in another.
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "verdict": metrics["verdict"],
        "verdict_sign": sign,
        "verdict_word": word,
        "fixed_name": escape(fixed_name),
        "moving_name": escape(moving_name),
        "reasons": "".join(f"<li>{escape(reason)}</li>" for reason in metrics["reasons"]),
    }


def _command(index: int, command: Reuse) -> str:
    return (
        f'<div class="command"><h3>{escape(command.tool)}</h3>'
        f'<button type="button" class="copy" data-copy="command-{index}" aria-label="Copy the {escape(command.tool)} '
        f'command">Copy</button><pre id="command-{index}" tabindex="0">{escape(command.text)}</pre>'
        f'<p class="faint">{escape(command.note)}</p></div>'
    )


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
