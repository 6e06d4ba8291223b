"""Drawings that are no pictures of brains: they follow the page's colours, so they are SVG and HTML."""

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from scripts.report.pictures import MOST_CHANGE
from scripts.report.style import DIVERGING, LOUD

_BARS = 40


def histogram(lengths: NDArray[np.floating]) -> str:
    """Distribution of displacements as SVG, bars from 0 to the longest, and in words.

    Args:
        lengths: `(N,)`, mm; what is not finite is left out.
    """
    lengths = lengths[np.isfinite(lengths)]
    if not lengths.size:
        return "<p>There is no foreground to measure in.</p>"
    longest = max(float(lengths.max()), 0.1)
    counts, borders = np.histogram(lengths, bins=_BARS, range=(0.0, longest))
    bars = [
        _bar(index, count / counts.max(), f"{low:.1f} to {high:.1f} mm: {100 * count / lengths.size:.1f} %")
        for index, (count, low, high) in enumerate(zip(counts, borders[:-1], borders[1:], strict=True))
    ]
    ticks = "".join(f"<span>{tick:.1f} mm</span>" for tick in np.linspace(0, longest, 5))
    half, most = np.percentile(lengths, (50, 95))
    words = (
        f"Half of the foreground moves by less than {half:.1f} mm, 95 % by less than {most:.1f} mm; "
        f"the longest displacement is {lengths.max():.1f} mm."
    )
    return (
        f'<div class="histogram"><svg viewBox="0 0 {_BARS} 1" preserveAspectRatio="none" role="img" '
        f'aria-label="Histogram: {words}">\n' + "\n".join(bars) + "\n</svg>"
        f'<div class="ticks faint">{ticks}</div></div>\n<p>{words}</p>'
    )


def colour_scale() -> str:
    """What the colours of the Jacobian map say, as HTML."""
    stops = ", ".join(to_hex(DIVERGING(place)) for place in np.linspace(0, 1, 13))
    ratios = ("1/3", "1/2", "1", "2", "3")
    values = np.log([1 / 3, 1 / 2, 1, 2, 3]) / np.log(MOST_CHANGE)
    ticks = "".join(
        f'<span style="left: {50 + 50 * value:.1f}%">{ratio}</span>'
        for ratio, value in zip(ratios, values, strict=True)
    )
    return (
        f'<div class="scale"><div class="bar" style="background: linear-gradient(90deg, {stops})"></div>'
        f'<div class="ticks">{ticks}</div>'
        '<div class="ways"><span>smaller in the moving scan</span><span>larger in the moving scan</span></div>'
        f'<p><span class="swatch" style="background: {LOUD}"></span> folded: the determinant is 0 or less</p></div>'
    )


def _bar(index: int, share: float, words: str) -> str:
    return f'<rect x="{index}" y="{1 - share:.4f}" width="0.95" height="{share:.4f}"><title>{words}</title></rect>'
