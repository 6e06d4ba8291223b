# SPDX-License-Identifier: Apache-2.0
"""Learning curves: validation Dice over the steps of a training, extrapolated by two rules."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scripts.report.style import AMBER, BACKGROUND, BLUE, ORANGE, TEXT, style_axes

_COLORS = (BLUE, AMBER, ORANGE, TEXT)
_FACTORS = (10, 100)  # the printed extrapolations are at these multiples of the last step


def learning_curves(path: str | os.PathLike[str], folders: Mapping[str, str], steps_per_epoch: int) -> None:
    """Draw the validation Dice of several trainings over their steps, and print its extrapolation by two rules.

    The rules are the least-squares fits of `a - b / sqrt(steps)`, which saturates, and of `a + b * log(steps)`, which
    does not. The picture shows the range between them.

    Args:
        path: PNG file to write.
        folders: name of each training in the legend, and its folder with `history.csv`; at most four are drawn.
        steps_per_epoch: number of optimizer steps in an epoch, from 1, the same for all.

    Raises:
        OSError: if a folder has no `history.csv`.
        ValueError: if a history has fewer than two validations.
    """
    figure = Figure(figsize=(9, 4.5), dpi=100, facecolor=BACKGROUND, layout="constrained")
    axes = figure.subplots()
    print(f"{'training':24} {'steps':>7} {'Dice':>7}   expected after 10 and 100 times the steps")
    for (name, folder), color in zip(folders.items(), _COLORS, strict=False):
        steps, dice = _validations(Path(folder) / "history.csv", steps_per_epoch)
        later = np.geomspace(steps[-1], _FACTORS[-1] * steps[-1])
        low, high = _extrapolated(steps, dice, later)
        axes.plot(steps, dice, color=color, marker="o", markersize=3.5, label=name)
        axes.fill_between(later, low, high, color=color, alpha=0.2, linewidth=0)
        ranges = zip(*_extrapolated(steps, dice, steps[-1] * np.array(_FACTORS)), strict=True)
        print(f"{name:24} {steps[-1]:7.0f} {dice[-1]:7.4f}   " + ", ".join(f"{a:.3f} to {b:.3f}" for a, b in ranges))
    axes.set_xscale("log")
    style_axes(axes, "validation Dice", "training steps; shaded: range between two extrapolations")
    axes.legend(frameon=False, labelcolor=TEXT, fontsize=9, loc="upper left")
    FigureCanvasAgg(figure).print_png(path)


def _validations(path: Path, steps_per_epoch: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Steps and Dice of each validation, `(N,)` each."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("dice")]
    if len(rows) < 2:
        raise ValueError(f"{path}: want the Dice of two epochs at least")
    return np.array([float(row["epoch"]) * steps_per_epoch for row in rows]), np.array([float(r["dice"]) for r in rows])


def _extrapolated(steps: NDArray[np.floating], dice: NDArray[np.floating], later: NDArray[np.floating]) -> NDArray:
    """Dice that both rules give at later steps, the lower and the higher value, `(2, N)`."""
    rules = (lambda count: 1 / np.sqrt(count), np.log)
    fits = [np.polyval(np.polyfit(rule(steps), dice, 1), rule(later)) for rule in rules]
    return np.sort(fits, axis=0)
