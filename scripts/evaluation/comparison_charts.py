# SPDX-License-Identifier: Apache-2.0
"""The pictures of a comparison: accuracy against CPU time, and against smoothness."""

from collections.abc import Mapping
from pathlib import Path

from scripts.evaluation.comparison_table import ByMethod, mean_metrics, study_title
from scripts.evaluation.methods import OURS
from scripts.io import whole_file
from scripts.report import tradeoff_chart

PRICES = {"time": ("cpu_seconds",), "smoothness": ("sdlogj", "ndv_percent", "foreground_ndv_percent")}


def write_charts(folder: Path, shown: Mapping[str, ByMethod]) -> list[Path]:
    """Draw the pictures of each study that has labels or landmarks: mean Dice, else mean TRE.

    The means are over the pairs that all methods have.

    Args:
        folder: folder of the PNG files, `comparison_STUDY_time.png` and `comparison_STUDY_smoothness.png`.
        shown: rows by study, method and pair, as `shown_rows` returns them.

    Returns:
        The files.
    """
    files = []
    for study, by_method in shown.items():
        measured = {name: rows for name, rows in by_method.items() if rows}
        common = set.intersection(*(set(rows) for rows in measured.values())) if measured else set()
        means = {name: mean_metrics([rows[pair] for pair in common]) for name, rows in measured.items()}
        affine = means.pop("affine", {})
        known = set().union(*means.values())
        accuracy = next((name for name in ("dice", "tre") if name in known), None)
        if accuracy is None:
            continue
        ours = [name for name in means if name.split()[0] in OURS]
        title = f"{study_title(study)}, mean of {len(common)} pairs"
        for kind, prices in PRICES.items():
            path = folder / f"comparison_{study.replace(' ', '_')}_{kind}.png"
            with whole_file(path) as partial:
                there = [price for price in prices if price in known]
                tradeoff_chart(partial, means, accuracy, there, title, ours, affine.get(accuracy))
            files.append(path)
    return files
