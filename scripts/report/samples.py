# SPDX-License-Identifier: Apache-2.0
"""The picture of training pairs, side by side."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scripts.datasets import PairSampler
from scripts.report.style import BACKGROUND
from scripts.synthesis import LabelMapPairs, RandSynthesizePaird, label_map_files

_COLUMNS = 4  # pairs in a row
_AXES = (2, 1, 0)  # array axes across the axial, coronal and sagittal plane, one for each pair in turn


def samples(label_dir: str, output: str, count: int, seed: int) -> None:
    """Draw pictures of virtual pairs: see `samples` in `scripts/__main__.py`."""
    torch.manual_seed(seed)
    dataset = LabelMapPairs(label_map_files(label_dir), RandSynthesizePaird())
    samples_picture(output, [dataset[index]["image"].numpy() for index in PairSampler(dataset, count)])


def samples_picture(path: str | os.PathLike[str], pairs: Sequence[NDArray]) -> None:
    """Draw the middle sections of pairs, the fixed image left of the moving one.

    Args:
        path: PNG file to write.
        pairs: fixed and moving image of each pair, `(2, X, Y, Z)` in [0, 1], RAS axes.

    Raises:
        ValueError: if there are no pairs.
    """
    if not pairs:
        raise ValueError("there is no pair to draw")
    rows = -(-len(pairs) // _COLUMNS)
    figure = Figure(figsize=(3 * _COLUMNS, 1.9 * rows), dpi=100, facecolor=BACKGROUND)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False)
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.99, 0.03, 0.03)
    for index, axes in enumerate(panels.flat):
        axes.set_axis_off()
        if index < len(pairs):
            axes.imshow(_side_by_side(pairs[index], _AXES[index % 3]), cmap="gray", vmin=0, vmax=1)
    FigureCanvasAgg(figure).print_png(path)


def _side_by_side(pair: NDArray, axis: int) -> NDArray:
    """Middle sections of both images, fixed left of moving, with anterior or superior at the top."""
    sections = np.take(pair, pair.shape[axis + 1] // 2, axis=axis + 1)
    return np.concatenate([np.rot90(section) for section in sections], axis=1)
