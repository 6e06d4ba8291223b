# SPDX-License-Identifier: Apache-2.0
"""Pictures of methods that were compared: what each reaches, and at what price."""

import os
from collections.abc import Collection, Mapping, Sequence
from itertools import product

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from scripts.metrics import METRICS
from scripts.report.style import AMBER, BACKGROUND, BLUE, MUTED, TEXT, style_axes

# Where the name of a dot may be, points from it; the first that overlaps with nothing is taken.
_PLACES = [(x, y) for y, x in product((0, 11, -11, 22, -22, 33, -33), (7, -7))]


def tradeoff_chart(
    path: str | os.PathLike[str],
    methods: Mapping[str, Mapping[str, float]],
    accuracy: str,
    prices: Sequence[str],
    title: str,
    highlighted: Collection[str] = (),
    before: float | None = None,
) -> None:
    """Draw a dot for each method: accuracy upwards, a price to the right.

    Args:
        path: PNG file to write.
        methods: metrics of each method by names of `METRICS`.
        accuracy: metric of the vertical axis.
        prices: metrics of the horizontal axes, one panel each; those of time have a logarithmic axis, those of folding
            one that is logarithmic from 0.001 %.
        title: title of the picture.
        highlighted: methods in another color.
        before: accuracy without any deformation, drawn as a line; None draws none.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12)
    figure = Figure(figsize=(9 if len(prices) == 1 else 13, 5.6), dpi=150, facecolor=BACKGROUND, layout=layout)
    figure.suptitle(title, color=TEXT, size=12)
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(prices), sharey=True, squeeze=False)[0]
    names: list[tuple[Axes, list[Annotation]]] = []
    for axes, price in zip(panels, prices, strict=True):
        dots = {
            name: (found[price], found[accuracy]) for name, found in methods.items() if {price, accuracy} <= {*found}
        }
        names.append((axes, _draw(axes, dots, price, highlighted)))
        if before is not None:
            axes.axhline(before, color=MUTED, linewidth=1, linestyle=":")
            axes.text(0.01, before, "affine", color=MUTED, size=9, va="bottom", transform=axes.get_yaxis_transform())
    panels[0].set_ylabel(_axis_label(accuracy), color=MUTED, size=10)
    canvas.draw()  # so that the places of all dots are known
    for axes, annotations in names:
        _move_apart(annotations, axes, canvas)
    canvas.print_png(path)


def _draw(
    axes: Axes, dots: Mapping[str, tuple[float, float]], price: str, highlighted: Collection[str]
) -> list[Annotation]:
    """Draw the dots, and return their names."""
    if price.endswith("seconds"):
        axes.set_xscale("log")
    elif price.endswith("percent"):
        axes.set_xscale("symlog", linthresh=1e-3)
    names = []
    for name, point in dots.items():
        color = AMBER if name in highlighted else BLUE
        axes.plot(*point, marker="o", markersize=7, color=color, linestyle="")
        names.append(
            axes.annotate(name, point, _PLACES[0], textcoords="offset points", color=color, size=9, va="center")
        )
    style_axes(axes, label=_axis_label(price))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.16, 0.12)
    return names


def _move_apart(names: Sequence[Annotation], axes: Axes, canvas: FigureCanvasAgg) -> None:
    """Move the names until none lies on another one or on a dot."""
    taken = []
    for name in names:
        x, y = axes.transData.transform(name.xy)
        taken.append(Bbox.from_bounds(x - 6, y - 6, 12, 12))
    for name in names:
        for x, y in _PLACES:
            name.set_position((x, y))
            name.set_horizontalalignment("left" if x > 0 else "right")
            box = name.get_window_extent(canvas.get_renderer())
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def _axis_label(name: str) -> str:
    metric = METRICS[name]
    return f"{metric.heading}, {metric.better} is better"
