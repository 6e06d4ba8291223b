"""Learning curves: how validation Dice rises with the steps of training, and where that may lead."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scripts.report.style import ACCENT, FAINT, GROUND, LINE, TEXT, WARM

_COLOURS = (LINE, ACCENT, WARM, TEXT)
_FURTHER = (10, 100)  # times the steps that were made


def learning_curves(path: str | os.PathLike[str], folders: Mapping[str, str], steps_per_epoch: int) -> None:
    """Draw the validation Dice of some trainings over their steps, and print where two rules expect it to go.

    The rules are the least-squares fits of `a - b / sqrt(steps)`, which saturates, and of `a + b * log(steps)`, which
    never does. The picture shows the range between them.

    Args:
        path: the PNG to write.
        folders: where the trainings have left `history.csv`, by the name that each gets.
        steps_per_epoch: of all of them.

    Raises:
        OSError: for a folder without a history.
        ValueError: for a history with less than two validations.
    """
    figure = Figure(figsize=(9, 4.5), dpi=100, facecolor=GROUND, layout="constrained")
    axes = figure.subplots()
    print(f"{'training':24} {'steps':>7} {'Dice':>7}   expected after 10 and 100 times the steps")
    for (name, folder), colour in zip(folders.items(), _COLOURS, strict=False):
        steps, dice = _validations(Path(folder) / "history.csv", steps_per_epoch)
        further = np.geomspace(steps[-1], _FURTHER[-1] * steps[-1])
        low, high = _expected(steps, dice, further)
        axes.plot(steps, dice, color=colour, marker="o", markersize=3.5, label=name)
        axes.fill_between(further, low, high, color=colour, alpha=0.2, linewidth=0)
        ranges = zip(*_expected(steps, dice, steps[-1] * np.array(_FURTHER)), strict=True)
        print(f"{name:24} {steps[-1]:7.0f} {dice[-1]:7.4f}   " + ", ".join(f"{a:.3f} to {b:.3f}" for a, b in ranges))
    axes.set_xscale("log")
    axes.set_facecolor(GROUND)
    axes.set_title("validation Dice", loc="left", color=TEXT, size=10)
    axes.set_xlabel("steps of training; shaded: what two rules expect of more", color=FAINT, size=9)
    axes.tick_params(colors=FAINT, which="both", labelsize=8.5, length=0)
    axes.grid(color=FAINT, alpha=0.2, linewidth=0.6)
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, labelcolor=TEXT, fontsize=9, loc="upper left")
    FigureCanvasAgg(figure).print_png(path)


def _validations(path: Path, steps_per_epoch: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("dice")]
    if len(rows) < 2:
        raise ValueError(f"{path}: want the Dice of two epochs at least")
    return np.array([float(row["epoch"]) * steps_per_epoch for row in rows]), np.array([float(r["dice"]) for r in rows])


def _expected(steps: NDArray[np.floating], dice: NDArray[np.floating], further: NDArray[np.floating]) -> NDArray:
    """The lower and the higher of what both rules expect, `(2, N)`."""
    rules = (lambda count: 1 / np.sqrt(count), np.log)
    fits = [np.polyval(np.polyfit(rule(steps), dice, 1), rule(further)) for rule in rules]
    return np.sort(fits, axis=0)
