"""Colours that the pictures share: a dark ground, on which a zero of the diverging map vanishes."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb

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
