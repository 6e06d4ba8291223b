# SPDX-License-Identifier: Apache-2.0
"""What the pictures share: colors, and the look of a chart.

The diverging map is the background color in its middle, at no change.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb

BACKGROUND = "#0b0e13"
TEXT = "#e8ebf0"
MUTED = "#8f99a8"
BLUE = "#5ec8f2"
AMBER = "#ffb454"
ORANGE = "#e8623a"
MAGENTA = "#ff2fd6"

GRAY = LinearSegmentedColormap.from_list("gray", [BACKGROUND, "#ffffff"])
_HUES = ["#bfe6ff", "#3f9fe0", "#14406e", BACKGROUND, "#7a2417", ORANGE, "#ffd9b8"]
DIVERGING = LinearSegmentedColormap.from_list("diverging", _HUES)
# Where to look comes forward, where all is well the picture stays dark.
QUALITY = LinearSegmentedColormap.from_list("quality", ["#ffe08a", AMBER, ORANGE, "#6b3a6e", "#1f5f8f", BLUE])
# The same map mixed with 70 % of the background: for what lies outside the brain.
DIM_DIVERGING = LinearSegmentedColormap.from_list(
    "dim", [0.3 * np.array(to_rgb(hue)) + 0.7 * np.array(to_rgb(BACKGROUND)) for hue in _HUES]
)


def style_axes(axes: Axes, title: str = "", label: str = "") -> None:
    """Give a chart the project's look: a dark background with a grid and without a frame.

    Args:
        axes: the chart.
        title: its title.
        label: title of its horizontal axis.
    """
    axes.set_facecolor(BACKGROUND)
    axes.set_title(title, loc="left", color=TEXT, size=10)
    axes.set_xlabel(label, color=MUTED, size=9)
    axes.tick_params(which="both", colors=MUTED, labelsize=8.5, length=0)
    axes.grid(color=MUTED, alpha=0.2, linewidth=0.6)
    axes.spines[:].set_visible(False)
