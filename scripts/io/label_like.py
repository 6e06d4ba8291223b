# SPDX-License-Identifier: Apache-2.0
"""Whether an image or series holds labels or intensities, told by its values and by how neighbors differ."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scripts.io.series import Series

_Kind = Literal["labels", "image", "unsure", "nothing"]

_ROUNDING = 1e-3  # largest distance of a label from a whole number
_SMALL_SLOPE = 0.25  # below it, a scaled integer lies within half a slope of the label that it stands for
_DENSE = 1 << 20  # largest range of whole numbers that is counted by position instead of sorted

# Measured on the 151 scans and label maps of OASIS, AOMIC, Mindboggle, SynthSeg, infants, MS and stroke data, on these
# label maps at 2 to 8 mm, and on quantized, smoothed and clipped scans, virtual CT, counts, distances, probabilities
# and parcels:
_FEW = 4  # values: up to here tissue classes and nested labels cannot be told from anything else, and are commoner
_LOOSE = 1 / 3  # share of a value's neighbors that equal it; a value below has no inside
_TEXTURE = 0.12  # textured pairs: label maps up to 0.06, scans of 32 gray levels or more from 0.4
_SURFACE = 0.5  # pairs with background: scans up to 0.3, single voxels and lines from 0.8
_JUMPS = 0.4, 0.3  # differing pairs that are not next in order, mean of values, all pairs: labels from 0.43
_EQUAL = 0.8  # equal neighbors: label maps of 1 mm from 0.86
_COMPACT = 0.15  # edge of a value's pieces by that of one cube: labels at 1 mm from 0.2, gray levels below 0.1
_SCATTERED = 0.3, 0.6  # equal neighbors: below, values without, and with an order like intensities', are intensities
_LEVELS = 32  # values of a map whose neighbors are next in order, above which they are no layers or classes
_GAP = 10  # largest step between such values by the median one: counts and gray levels have no gaps, 2, 3, 41, 42 have


@dataclass(frozen=True)
class _Neighbors:
    """How neighboring voxels differ, without the pairs within the background.

    Attributes:
        equal: share of equal pairs, both not background.
        jumps: share of the pairs of different values that are not next to each other in order: the mean over values,
            and of all pairs.
        texture: share of the pairs that differ and whose values both have no inside.
        surface: share of the pairs of which one is background.
        compact: median over values of the edge of a cube as compact as their pieces, by the edge of a cube of all
            their voxels.
    """

    equal: float
    jumps: tuple[float, float]
    texture: float
    surface: float
    compact: float


def holds_labels(series: Series) -> bool | None:
    """Whether an image or a series holds labels, and not intensities; None where that cannot be told.

    A label map has whole numbers (to the rounding of floats and scale factors) that form pieces and differ from their
    neighbors' without order, or at most four of them, or any two values. All volumes are looked at, up to the first
    that certainly holds intensities. Values that are not finite count as background.

    Args:
        series: opened image or series.

    Raises:
        InputError: if the file is damaged or cut short.
    """
    found: set[_Kind] = set()
    for values in series.volumes():
        found.add(_kind(values, series))
        if "image" in found:
            return False
    return None if "unsure" in found else "labels" in found


def _kind(values: NDArray[Any], series: Series) -> _Kind:
    """What one volume holds; `nothing` if one value everywhere does not tell."""
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.any():
            return "nothing"
        values = np.where(finite, values, values.dtype.type(0))
    low, high = values.min(), values.max()
    if low == high:
        return "labels" if low != 0 and low == np.rint(low) else "nothing"
    if ((values == low) | (values == high)).all():
        return "labels"
    if values.dtype.kind != "f":
        return _kind_of_whole(values)
    whole = np.rint(values)
    scaled = series.dtype.kind in "iu"
    tolerance = max(_ROUNDING, 0.51 * abs(series.slope) if scaled and abs(series.slope) < _SMALL_SLOPE else 0)
    if np.abs(values - whole).max() <= tolerance:
        return _kind_of_whole(whole)
    if not scaled:
        return "image"
    # The numbers in the file may be labels, and the scale factor what a tool has put on them.
    numbers = np.rint((values - series.inter) / series.slope)
    return "unsure" if _kind_of_whole(numbers) == "labels" else "image"


def _kind_of_whole(values: NDArray[Any]) -> _Kind:
    """What a volume of whole numbers holds."""
    present, ranks, counts = _ranked(values)
    if len(present) <= 2:
        return "labels"
    background = int(counts.argmax())
    # The middle is enough for most scans, and takes an eighth of the time.
    for part in (ranks[tuple(slice(n // 4, n - n // 4) for n in ranks.shape)], ranks):
        near = _neighbors(part, len(present), background)
        solid = near.surface < _SURFACE
        if near.texture > _TEXTURE and solid:
            return "image"
    if near.texture > _TEXTURE:
        return "unsure"
    if near.jumps[0] >= _JUMPS[0] and near.jumps[1] >= _JUMPS[1]:
        if near.equal >= _EQUAL or near.compact >= _COMPACT:
            return "labels"
        return "image" if near.equal < _SCATTERED[0] and solid else "unsure"
    if len(present) <= _FEW:
        return "labels"
    if len(present) > _LEVELS or (near.equal < _SCATTERED[1] and solid):
        return "image"
    steps = np.diff(present)
    return "labels" if steps.max() >= _GAP * np.median(steps) else "unsure"


def _ranked(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.intp]]:
    """All values in order, the place of each voxel's value among them, `(X, Y, Z)`, and how often each occurs."""
    low, high = values.min(), values.max()
    if int(high) - int(low) >= _DENSE:
        present, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        return present, inverse.reshape(values.shape).astype(np.int32), counts
    wide = values.astype(np.int64) if values.dtype.itemsize < 8 and values.dtype.kind != "f" else values
    above = (wide - wide.dtype.type(low)).astype(np.intp)
    counts = np.bincount(above.ravel())
    order = (np.cumsum(counts > 0) - 1).astype(np.int32)
    return np.flatnonzero(counts), order[above], counts[counts > 0]


def _neighbors(ranks: NDArray[np.int32], count: int, background: int) -> _Neighbors:
    """Compare all neighbors along the three axes.

    Args:
        ranks: places of the values in order, `(X, Y, Z)`.
        count: number of values.
        background: the commonest one.
    """
    ranks = _without_repeats(ranks)
    equal, different, jumping = (np.zeros(count) for _ in range(3))
    edges = []  # pairs of different values, along each axis
    inside = outside = 0  # equal pairs, and different ones without background
    for axis in range(3):
        along = np.moveaxis(ranks, axis, 0)
        known = (along[:-1] != background) | (along[1:] != background)
        first, second = along[:-1][known], along[1:][known]
        same = first == second
        inside += int(same.sum())
        equal += 2 * np.bincount(first[same], minlength=count)
        first, second = first[~same], second[~same]
        edges.append((first, second))
        outside += int(((first != background) & (second != background)).sum())
        jump = np.abs(first - second) > 1
        for side in (first, second):
            different += np.bincount(side, minlength=count)
            jumping += np.bincount(side[jump], minlength=count)
    voxels = np.bincount(ranks.ravel(), minlength=count)
    values = (voxels > 0) & (np.arange(count) != background)
    pairs = max((equal.sum() + different.sum()) / 2, 1)
    if not values.any():
        return _Neighbors(0.0, (0.0, 0.0), 0.0, 0.0, 0.0)
    share = equal / np.maximum(equal + different, 1)
    loose = (share < _LOOSE) & values
    textured = sum(int((loose[first] & loose[second]).sum()) for first, second in edges)
    pieces = 1 / (np.maximum(1 - share, 1e-6) * np.cbrt(np.maximum(voxels, 1)))
    return _Neighbors(
        equal=inside / max(inside + outside, 1),
        jumps=(
            float((jumping / np.maximum(different, 1))[values].mean()),
            float(jumping.sum() / max(different.sum(), 1)),
        ),
        texture=float(textured / pairs),
        surface=float(different[background] / pairs),
        compact=float(np.median(pieces[values])),
    )


def _without_repeats(ranks: NDArray[np.int32]) -> NDArray[np.int32]:
    """Without planes that are as the one before: a scan that was enlarged by nearest neighbors would look like labels,
    and what is padded takes time."""
    for axis in range(3):
        along = np.moveaxis(ranks, axis, 0)
        new = np.concatenate([[True], (along[1:] != along[:-1]).any(axis=(1, 2))])
        ranks = np.compress(new, ranks, axis=axis)
    return ranks
