# SPDX-License-Identifier: Apache-2.0
"""Curves of a training: loss and validation metrics over epochs."""

import os
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from scripts.metrics import METRICS
from scripts.report.style import AMBER, BACKGROUND, BLUE, MUTED, ORANGE, TEXT, style_axes

# Metrics of the history that have a panel, and the color of each.
_SHOWN = {"loss": BLUE, "dice": AMBER, "ndv_percent": ORANGE}


def loss_curve(path: str | os.PathLike[str], history: Sequence[Mapping[str, float]]) -> None:
    """Draw the training loss and, where the history has them, validation Dice and non-diffeomorphic volume (NDV).

    Args:
        path: PNG file to write, 900 pixels wide.
        history: one mapping per epoch, with `epoch` (from 1) and `loss`, and after a validation `dice` (0 to 1) and
            `ndv_percent` (0 to 100).

    Raises:
        ValueError: if the history is empty.
    """
    if not history:
        raise ValueError("there is no epoch to draw")
    shown = [name for name in _SHOWN if any(name in epoch for epoch in history)]
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(9, 0.7 + 1.9 * len(shown)), dpi=100, facecolor=BACKGROUND, layout=layout)
    panels = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, shown, strict=True):
        points = [(epoch["epoch"], epoch[name]) for epoch in history if name in epoch]
        metric = METRICS[name]
        _draw(axes, points, metric.heading if name == "loss" else f"validation {metric.heading}", _SHOWN[name])
        best = max if metric.better == "higher" else min
        _mark(axes, best(points, key=lambda point: point[1]))
    panels[-1].set_xlabel("epoch", color=MUTED, size=9)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    FigureCanvasAgg(figure).print_png(path)


def _draw(axes: Axes, points: Sequence[tuple[float, float]], name: str, color: str) -> None:
    epochs, values = zip(*points, strict=True)
    has_markers = len(points) <= 40
    axes.plot(epochs, values, color=color, linewidth=1.6, marker="o" if has_markers else "", markersize=3.5)
    style_axes(axes, name)
    axes.margins(x=0.03, y=0.18)


def _mark(axes: Axes, point: tuple[float, float]) -> None:
    """Draw a ring around the best point, and write its value at the right of the panel's title."""
    epoch, value = point
    axes.plot(epoch, value, marker="o", markersize=9, markerfacecolor="none", markeredgecolor=TEXT, linestyle="")
    axes.set_title(f"best {value:.4g} at epoch {epoch:g}", loc="right", color=MUTED, size=9)
