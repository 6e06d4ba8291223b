"""The sheet that a picture is drawn on: a row of panels per section, headings above, colour scales below."""

import os
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from scripts.report.sections import Section
from scripts.report.style import ACCENT, FAINT, GROUND, LOUD, TEXT, quiet, save_png

WIDTH = 1600  # pixels
_DPI = 100
_LEFT, _RIGHT, _GAP = 32, 12, 6
_HEAD, _FOOT = 104, 66


class Page:
    """Panels of equal width; every row is as high as its section's proportions ask for.

    All measures are whole pixels from the upper left corner, so that equal images look equal in any panel.
    """

    def __init__(self, sections: list[Section], columns: int, title: str, note: str) -> None:
        """Lay out `columns` empty panels for each section, under a title and over a note."""
        self.sections = sections
        self.panel_width = (WIDTH - _LEFT - _RIGHT - (columns - 1) * _GAP) // columns
        heights = [round(self.panel_width * section.aspect) for section in sections]
        tops = [_HEAD + sum(heights[:row]) + row * _GAP for row in range(len(heights))]
        self.height = tops[-1] + heights[-1] + _FOOT
        self.figure = Figure(figsize=(WIDTH / _DPI, self.height / _DPI), dpi=_DPI, facecolor=GROUND)
        self.panels = [
            [self._panel(section, column, top, height) for column in range(columns)]
            for section, top, height in zip(sections, tops, heights, strict=True)
        ]
        for section, top, height in zip(sections, tops, heights, strict=True):
            self._text(_LEFT / 2, top + height / 2, section.plane.name, color=FAINT, rotation=90, va="center")
        self._text(_LEFT, 26, title, size=13, weight="bold", ha="left", va="center")
        self._text(_LEFT, self.height - _FOOT / 2, note, color=FAINT, size=9, ha="left", va="center", linespacing=1.5)

    def head(self, column: int, name: str, finding: str = "", alarm: bool = False) -> None:
        """Name a column, and say in numbers what it shows."""
        centre = self._left(column) + self.panel_width / 2
        self._text(centre, _HEAD - 34, name, size=11, weight="bold", va="center")
        self._text(centre, _HEAD - 15, finding, size=9.5, color=LOUD if alarm else FAINT, va="center")

    def image(self, row: int, column: int, volume: NDArray, **style: Any) -> AxesImage:
        """Show a row's section of a volume; `style` goes to `imshow`."""
        section = self.sections[row]
        axes = self.panels[row][column]
        image = axes.imshow(section.cut(volume), origin="lower", extent=section.extent, aspect="auto", **style)
        left, right, lower, upper = section.window
        axes.set(xlim=(left, right), ylim=(lower, upper))
        return image

    def lines(self, row: int, column: int, lines: list[NDArray], colour: str) -> None:
        """Draw lines, each `(N, 2)` in mm, over a panel's image."""
        self.panels[row][column].add_collection(LineCollection(lines, colors=colour, linewidths=0.7))

    def scale(self, image: AxesImage, column: int, span: int, label: str) -> None:
        """Put an image's colour scale under `span` columns."""
        width = self.panel_width * span + _GAP * (span - 1)
        top = self.height - _FOOT + 12
        bar = self.figure.colorbar(
            image, cax=self._axes(self._left(column) + 0.1 * width, top, 0.8 * width, 9), orientation="horizontal"
        )
        bar.ax.spines["outline"].set_visible(False)
        bar.ax.tick_params(colors=FAINT, labelsize=8.5, length=0, pad=3)
        bar.ax.locator_params(nbins=5)
        self._text(self._left(column) + width / 2, top + 38, label, size=9, color=FAINT, va="center")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sheet as PNG."""
        save_png(self.figure, path)

    def _panel(self, section: Section, column: int, top: float, height: float) -> Axes:
        axes = self._axes(self._left(column), top, self.panel_width, height)
        quiet(axes)
        if column == 0:
            places = ((0.03, 0.5), (0.97, 0.5), (0.5, 0.04), (0.5, 0.96))
            rim = [withStroke(linewidth=3, foreground=GROUND)]  # legible over the brain, too
            for (x, y), end in zip(places, section.plane.ends, strict=True):
                axes.annotate(
                    end,
                    (x, y),
                    xycoords="axes fraction",
                    color=ACCENT,
                    size=9,
                    ha="center",
                    va="center",
                    path_effects=rim,
                )
        return axes

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))

    def _left(self, column: int) -> int:
        return _LEFT + column * (self.panel_width + _GAP)

    def _text(self, left: float, top: float, text: str, **style: Any) -> None:
        style = {"color": TEXT, "size": 10, "ha": "center", **style}
        # Titles come from file names, in which a dollar sign is no formula.
        self.figure.text(left / WIDTH, 1 - top / self.height, text, parse_math=False, **style)
