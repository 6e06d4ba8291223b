# SPDX-License-Identifier: Apache-2.0
"""The histogram and the color scale of a report. As SVG and HTML they follow the page's light or dark colors."""

import numpy as np
from matplotlib.colors import Colormap, to_hex
from numpy.typing import NDArray

from scripts.report.pictures import LARGEST_CHANGE
from scripts.report.style import DIVERGING, MAGENTA, QUALITY

_BARS = 40


def histogram(lengths: NDArray[np.floating]) -> str:
    """Histogram of displacements from 0 to the longest, as SVG, and a sentence with three of its percentiles.

    Args:
        lengths: lengths of displacements, `(N,)`, mm; values that are not finite are left out.
    """
    lengths = lengths[np.isfinite(lengths)]
    if not lengths.size:
        return "<p>There is no foreground to measure in.</p>"
    longest = max(float(lengths.max()), 0.1)
    counts, edges = np.histogram(lengths, bins=_BARS, range=(0.0, longest))
    bars = [
        _bar(index, count / counts.max(), f"{low:.1f} to {high:.1f} mm: {100 * count / lengths.size:.1f} %")
        for index, (count, low, high) in enumerate(zip(counts, edges[:-1], edges[1:], strict=True))
    ]
    ticks = "".join(f"<span>{tick:.1f} mm</span>" for tick in np.linspace(0, longest, 5))
    median, percentile95 = np.percentile(lengths, (50, 95))
    summary = (
        f"Half of the foreground moves by less than {median:.1f} mm, 95 % by less than {percentile95:.1f} mm; "
        f"the longest displacement is {lengths.max():.1f} mm."
    )
    return (
        f'<div class="histogram"><svg viewBox="0 0 {_BARS} 1" preserveAspectRatio="none" role="img" '
        f'aria-label="Histogram: {summary}">\n' + "\n".join(bars) + "\n</svg>"
        f'<div class="ticks muted">{ticks}</div></div>\n<p>{summary}</p>'
    )


def color_scale() -> str:
    """Color scale of the Jacobian map, as HTML."""
    ratios = ("1/3", "1/2", "1", "2", "3")
    values = np.log([1 / 3, 1 / 2, 1, 2, 3]) / np.log(LARGEST_CHANGE)
    ticks = "".join(
        f'<span style="left: {50 + 50 * value:.1f}%">{ratio}</span>'
        for ratio, value in zip(ratios, values, strict=True)
    )
    return (
        f'<div class="scale">{_bar_of(DIVERGING)}<div class="ticks">{ticks}</div>'
        '<div class="ends"><span>smaller in the moving scan</span><span>larger in the moving scan</span></div>'
        f'<p><span class="swatch" style="background: {MAGENTA}"></span> folded: the determinant is 0 or less</p></div>'
    )


def quality_scale() -> str:
    """Color scale of the quality, as HTML."""
    ticks = "".join(f'<span style="left: {100 * value:.0f}%">{value:.2g}</span>' for value in np.linspace(0, 1, 6))
    return (
        f'<div class="scale">{_bar_of(QUALITY)}<div class="ticks">{ticks}</div>'
        '<div class="ends"><span>do not rely on it</span><span>borders are where they should be</span></div></div>'
    )


def _bar_of(colors: Colormap) -> str:
    stops = ", ".join(to_hex(colors(position)) for position in np.linspace(0, 1, 13))
    return f'<div class="bar" style="background: linear-gradient(90deg, {stops})"></div>'


def _bar(index: int, height: float, title: str) -> str:
    return f'<rect x="{index}" y="{1 - height:.4f}" width="0.95" height="{height:.4f}"><title>{title}</title></rect>'
