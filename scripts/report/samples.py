"""What a training sees: pairs of images side by side."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scripts.report.style import GROUND

_COLUMNS = 4  # pairs side by side
_AXES = (2, 1, 0)  # one plane for each pair in turn: axial, coronal, sagittal


def samples_picture(path: str | os.PathLike[str], pairs: Sequence[NDArray]) -> None:
    """Draw the middle sections of pairs, the fixed image left of the moving one.

    Args:
        path: the PNG to write.
        pairs: `(2, X, Y, Z)` each, RAS axes, in [0, 1].

    Raises:
        ValueError: without pairs.
    """
    if not pairs:
        raise ValueError("there is no pair to draw")
    rows = -(-len(pairs) // _COLUMNS)
    figure = Figure(figsize=(3 * _COLUMNS, 1.9 * rows), dpi=100, facecolor=GROUND)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False)
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.99, 0.03, 0.03)
    for place, axes in enumerate(panels.flat):
        axes.set_axis_off()
        if place < len(pairs):
            axes.imshow(_side_by_side(pairs[place], _AXES[place % 3]), cmap="gray", vmin=0, vmax=1)
    FigureCanvasAgg(figure).print_png(path)


def _side_by_side(pair: NDArray, axis: int) -> NDArray:
    """Middle sections of both, front or top up, left of the image on the left."""
    sections = np.take(pair, pair.shape[axis + 1] // 2, axis=axis + 1)
    return np.concatenate([np.rot90(section) for section in sections], axis=1)
