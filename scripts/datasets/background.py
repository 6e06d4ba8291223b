# SPDX-License-Identifier: Apache-2.0
"""The background of a volume: its value, and how far noise departs from it."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scripts.geometry import faces

THRESHOLD = 0.1  # share of the 95th percentile by which foreground differs from background at least
NOISE_THRESHOLD = 5  # the same in median absolute deviations of the background: 3.4 standard deviations, Rayleigh noise
# Tissue at the faces: slabs of 10 to 30 mm of stripped brains and of heads have 0.35 to 0.7 of the 99.5th percentile
# there; air has less, down to a signal-to-noise ratio of 5.
_TISSUE = 0.25
_CONSTANT = 0.05  # least share of the faces that a constant background has; 0.17 in a slab that is cut on four sides
_PURE = 0.75  # share of the darkest tenth of the range that has this very value; less than 0.1 in noise
_REST = 0.05  # share of the faces that a mask must leave out to be judged by: fewer voxels may be of any kind


class Background(NamedTuple):
    """What is behind the foreground.

    Attributes:
        value: its intensity, one that the volume has.
        noise: median absolute deviation from it; infinite where no background is seen.
    """

    value: float
    noise: float


def find_background(values: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> Background:
    """Find the background of a volume.

    It is the median of the faces. Where these show tissue (slabs, volumes that are cropped to the brain), it is a
    constant value that the faces have as well (0, or the smallest), or the median of the volume's edges. With a mask it
    is the median of what the mask leaves out: of the faces or, where these show tissue or the mask covers them, of the
    whole volume. A mask that leaves out nothing tells nothing.

    Args:
        values: finite intensities, `(X, Y, Z)`, without faces of a constant value.
        mask: `(X, Y, Z)`, True inside.
    """
    if mask is not None and not mask.all():
        return _left_out(values, ~mask)
    border = faces(values)
    found = _middle(border)
    if found.noise == 0:
        return found
    for other in (_constant(border, values), _middle(_edges(values))):
        if other is not None and 2 * other.noise < found.noise and _shows_tissue(border, found, other, values):
            return other
    low, high = np.percentile(values, [0.5, 99.5])
    # Noise that decides, about a value that is not dark: tissue, and nothing behind it.
    nothing_behind = not _is_calm(found, values) and found.value - low > _TISSUE * (high - low)
    return Background(found.value, np.inf) if nothing_behind else found


def reach(difference: NDArray[np.floating]) -> tuple[float, float]:
    """5th and 95th percentile of the differences from the background that are not 0; 0 and 0 if all are."""
    some = difference[difference != 0]
    return tuple(np.percentile(some, [5, 95])) if some.size else (0.0, 0.0)


def _left_out(values: NDArray[np.floating], outside: NDArray[np.bool_]) -> Background:
    shown = faces(outside)
    found = _middle(faces(values)[shown]) if shown.mean() >= _REST else None
    if found is not None and _is_calm(found, values):
        return found
    everywhere = _middle(values[outside])
    return everywhere if found is None or everywhere.noise < found.noise else found


def _range(found: Background, values: NDArray[np.floating]) -> float:
    """How far values are from a background: of those that differ, all but a few."""
    difference = values - values.dtype.type(found.value)
    some = difference[difference != 0]
    return float(np.abs(np.percentile(some, [0.5, 99.5])).max()) if some.size else 0.0


def _is_calm(found: Background, values: NDArray[np.floating]) -> bool:
    """Whether the noise is too small to decide what is foreground."""
    return found.noise == 0 or NOISE_THRESHOLD * found.noise <= THRESHOLD * _range(found, values)


def _shows_tissue(
    border: NDArray[np.floating], found: Background, other: Background, values: NDArray[np.floating]
) -> bool:
    """Whether the faces are tissue in front of another background: uneven, and far from it."""
    whole = _range(other, values)
    threshold = max(THRESHOLD * whole, NOISE_THRESHOLD * other.noise)
    distance = np.abs(border - other.value)
    shown = distance[distance > threshold]
    if not shown.size or np.median(shown) <= _TISSUE * whole:
        return False
    return not _is_calm(found, values[np.abs(values - values.dtype.type(other.value)) > threshold])


def _constant(border: NDArray[np.floating], values: NDArray[np.floating]) -> Background | None:
    """A constant background that part of the faces shows: 0, or the smallest value."""
    for value in (0.0, float(border.min())):
        found = Background(value, 0.0)
        share = np.mean(border == value)
        if share < _CONSTANT:
            continue
        if share >= _PURE * np.mean(np.abs(border - value) <= THRESHOLD * _range(found, values)):
            return found
    return None


def _middle(sample: NDArray[np.floating]) -> Background:
    # inverted_cdf returns one of the values, not a mean of two, so a constant background is met exactly.
    value = np.percentile(sample, 50, method="inverted_cdf")
    return Background(value, np.median(np.abs(sample - value)))


def _edges(values: NDArray) -> NDArray:
    """The twelve edges: of a slab they are background where its faces are tissue, as sections of a brain are round."""
    return np.concatenate(list(_lines(values)))


def _lines(values: NDArray) -> Iterator[NDArray]:
    for axis, ends in itertools.product(range(3), itertools.product((0, -1), repeat=2)):
        yield np.moveaxis(values, axis, 2)[ends]
