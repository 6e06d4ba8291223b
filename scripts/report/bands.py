# SPDX-License-Identifier: Apache-2.0
"""Curves with confidence bands, in panels, and the picture of a registration that is off."""

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scripts.report.style import AMBER, BACKGROUND, BLUE, MAGENTA, MUTED, ORANGE, TEXT, style_axes

_COLORS = (BLUE, AMBER, ORANGE, MAGENTA, TEXT, MUTED)
_COLUMNS = 2
_LARGEST_ERROR = 10.0  # mm: end of the color scale
_IMAGES = ("fixed", "moving", "moved")


class Curve(NamedTuple):
    """A mean and its confidence interval at several places.

    Attributes:
        places: where it was measured, ascending, `(N,)`.
        mean: means, `(N,)`.
        low: lower ends of the intervals, `(N,)`; NaN where there is none.
        high: upper ends of the intervals, `(N,)`.
    """

    places: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def band_chart(path: str | os.PathLike[str], panels: Mapping[str, Mapping[str, Curve]], label: str) -> None:
    """Draw curves with confidence bands.

    Args:
        path: PNG file to write.
        panels: title of each panel, and its curves by name; the first panel has all names.
        label: title of the horizontal axes.
    """
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(11, 3.4 * rows), dpi=100, facecolor=BACKGROUND, layout="constrained")
    places = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, curves) in zip(places, panels.items(), strict=False):
        for (name, curve), color in zip(curves.items(), _COLORS, strict=False):
            axes.plot(curve.places, curve.mean, color=color, marker="o", markersize=3.5, label=name)
            axes.fill_between(curve.places, curve.low, curve.high, color=color, alpha=0.2, linewidth=0)
        style_axes(axes, title, label)
    figure.axes[0].legend(frameon=False, labelcolor=TEXT, fontsize=8.5)
    FigureCanvasAgg(figure).print_png(path)


def error_picture(path: str | os.PathLike[str], title: str, images: NDArray, errors: NDArray | None = None) -> None:
    """Draw the middle sections of a registration: fixed, moving and moved image, and the error.

    Args:
        path: PNG file to write.
        title: title of the picture.
        images: fixed, moving and moved image, `(3, X, Y, Z)` in [0, 1], RAS axes.
        errors: length of the error, `(X, Y, Z)`, mm; the color scale ends at 10 mm. None leaves it out.
    """
    columns = len(_IMAGES) + (errors is not None)
    figure = Figure(figsize=(2.75 * columns, 8), dpi=100, facecolor=BACKGROUND, layout="constrained")
    figure.suptitle(title, color=TEXT, size=11)
    panels = figure.subplots(3, columns)
    for axes in panels.flat:
        axes.set_axis_off()
    for row, axis in zip(panels, (2, 1, 0), strict=True):
        for axes, image, name in zip(row, images, _IMAGES, strict=False):
            axes.imshow(_section(image, axis), cmap="gray", vmin=0, vmax=1)
            axes.set_title(name, color=MUTED, size=9)
        if errors is not None:
            drawn = row[-1].imshow(_section(errors, axis), cmap="inferno", vmin=0, vmax=_LARGEST_ERROR)
            row[-1].set_title("error (mm)", color=MUTED, size=9)
    if errors is not None:
        bar = figure.colorbar(drawn, ax=panels[:, -1], shrink=0.5)
        bar.ax.tick_params(colors=MUTED, labelsize=8.5)
    FigureCanvasAgg(figure).print_png(path)


def _section(image: NDArray, axis: int) -> NDArray:
    """The middle section, with anterior or superior at the top."""
    return np.rot90(np.take(image, image.shape[axis] // 2, axis=axis))
