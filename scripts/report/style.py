"""Colours that the pictures share: a dark ground, on which a zero of the diverging map vanishes."""

import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from PIL import Image

GROUND = "#0b0e13"
TEXT = "#e8ebf0"
FAINT = "#8f99a8"
LINE = "#5ec8f2"
ACCENT = "#ffb454"
WARM = "#e8623a"
LOUD = "#ff2fd6"

GREY = LinearSegmentedColormap.from_list("grey", [GROUND, "#ffffff"])
_HUES = ["#bfe6ff", "#3f9fe0", "#14406e", GROUND, "#7a2417", WARM, "#ffd9b8"]
DIVERGING = LinearSegmentedColormap.from_list("diverging", _HUES)
# The same map seen through the dark: for what lies outside the brain.
FADED = LinearSegmentedColormap.from_list(
    "faded", [0.3 * np.array(to_rgb(hue)) + 0.7 * np.array(to_rgb(GROUND)) for hue in _HUES]
)


def quiet(axes: Axes) -> None:
    """Leave nothing of an axes but what is drawn in it."""
    axes.set_facecolor(GROUND)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def save_png(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in these colours as PNG with a palette of them: less than half the size, and it looks alike."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
    reduced = Image.fromarray(pixels).quantize(palette=_palette(), dither=Image.Dither.NONE)
    reduced.save(path, format="PNG", optimize=True)


def _palette() -> Image.Image:
    """The colour maps, and every plain colour on its way into the ground: 248 colours in all."""
    ramps = [LinearSegmentedColormap.from_list("ramp", [GROUND, colour]) for colour in (LINE, ACCENT, LOUD, FAINT)]
    maps = [(GREY, 88), (DIVERGING, 96), (FADED, 32), *((ramp, 8) for ramp in ramps)]
    colours = np.concatenate([colour_map(np.linspace(0, 1, count), bytes=True)[:, :3] for colour_map, count in maps])
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours.tobytes())
    return palette
