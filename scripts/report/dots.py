# SPDX-License-Identifier: Apache-2.0
"""A chart of dots: several values for each of some names, in panels side by side."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scripts.report.style import AMBER, BACKGROUND, BLUE, MUTED, ORANGE, TEXT, style_axes

_COLORS = (BLUE, AMBER, ORANGE)


def dot_chart(path: str | os.PathLike[str], panels: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw a dot for each value and a bar at their mean; a dashed line goes through the mean of the first name.

    Args:
        path: PNG file to write.
        panels: title of each panel, at most three, and its values by name; the first panel has all names.
    """
    names = list(next(iter(panels.values())))
    figure = Figure(figsize=(11, 1.2 + 0.32 * len(names)), dpi=100, facecolor=BACKGROUND, layout="constrained")
    for axes, (title, values), color in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), _COLORS, strict=False
    ):
        for height, name in enumerate(names):
            found = np.array(values.get(name, ()), dtype=float)
            axes.plot(found, np.full(len(found), height), color=color, marker="o", markersize=4.5, linestyle="")
            if len(found):
                axes.plot(found.mean(), height, color=TEXT, marker="|", markersize=13)
        if len(values.get(names[0], ())):
            axes.axvline(float(np.mean(values[names[0]])), color=MUTED, linewidth=0.8, linestyle="--")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        style_axes(axes, title)
    FigureCanvasAgg(figure).print_png(path)
