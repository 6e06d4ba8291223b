"""Intensities on one scale: what belongs to the head, from 0 to 1, and whether the skull is still there.

Everything here follows from the values and from which of them lie at the faces, so flips, permutations of axes and
padding change nothing.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt, label

from scripts.geometry import Grid, resample, world_box

_LEAST = 0.1  # of the foreground's bright end: what differs less from the background belongs to it
_NOISE = 5  # median absolute deviations of the faces, about 3.4 standard deviations of a Rayleigh background
_MOST = 2.0  # times the way from the median to the 95th percentile: what lies beyond are outliers
_COARSE = 3.0  # mm
_BRAIN = 2.5  # litres: no brain is larger, nor is one that was scaled to a template
_GAP = 12.0  # mm: what is closed


def foreground(image: NDArray, mask: NDArray | None = None) -> NDArray[np.bool_]:
    """What is not background.

    The background is the median of the faces; the foreground differs from it by more than a tenth of the 95th
    percentile of all differences, and by more than the faces' noise. Where a constant background lies inside the range
    of values, as in brains that were z-scored, the foreground is whatever differs from it.

    Args:
        image: `(X, Y, Z)`, finite.
        mask: `(X, Y, Z)`, above 0 where the foreground may be.

    Returns:
        `(X, Y, Z)`.
    """
    return _split(image, mask)[0]


def scale_intensity(image: NDArray, mask: NDArray | None = None) -> NDArray[np.float32]:
    """Intensities from 0 (background) to 1 (the 99.5th percentile of the foreground), clipped.

    Where the background lies inside the range of values, 0 is the 0.5th percentile of the foreground as well.

    Args:
        image: `(X, Y, Z)`, finite.
        mask: `(X, Y, Z)`, above 0 where the image counts; outside it is 0, and percentiles are taken inside.

    Returns:
        `(X, Y, Z)`; all 0 if there is no foreground.
    """
    inside, difference, straddles = _split(image, mask)
    if not inside.any():
        return np.zeros(image.shape, dtype=np.float32)
    darkest, dark, middle, bright, brightest = np.percentile(difference[inside], [0.5, 5, 50, 95, 99.5])
    lower = max(darkest, middle + _MOST * (dark - middle)) if straddles else 0.0
    upper = min(brightest, middle + _MOST * (bright - middle)) if bright > middle else brightest
    if upper == lower:
        return inside.astype(np.float32)
    scaled = ((difference - lower) / (upper - lower)).clip(0, 1).astype(np.float32)
    if straddles:
        scaled[~inside] = 0
    elif mask is not None:
        scaled[np.asarray(mask) <= 0] = 0
    return scaled


def looks_skull_stripped(image: NDArray, affine: NDArray[np.float64]) -> bool:
    """Whether a scan seems to show a brain alone.

    A whole head is larger than a brain. Where only a part of it is in the scan, it is known by the skull: from the
    surface inwards the intensity falls and rises again. Parts of heads in T2 contrast are taken for brains.

    Args:
        image: `(X, Y, Z)`, finite.
        affine: `(4, 4)`, voxel to RAS mm.

    Returns:
        False for a head; True for a brain, and if there is no foreground.
    """
    scaled, inside = scale_intensity(image), foreground(image)
    if not inside.any():
        return True
    low, high = world_box(inside, affine)
    matrix = np.diag([_COARSE, _COARSE, _COARSE, 1.0])
    rim = _GAP + 2 * _COARSE
    matrix[:3, 3] = low - rim
    size = np.ceil((high - low + 2 * rim) / _COARSE).astype(int)
    grid = Grid(tuple(size.tolist()), matrix)
    hull = _largest_hull(resample(inside.astype(np.float32), affine, grid) > 0.5)
    if hull.sum() * (_COARSE / 100) ** 3 > _BRAIN:
        return False
    return not _has_skull(resample(scaled, affine, grid), distance_transform_edt(hull) * _COARSE)


class ScaleForegroundd(MapTransform):
    """`scale_intensity` of channel-first images `(1, X, Y, Z)`; metadata stay.

    Args:
        keys: keys of the images.
        allow_missing_keys: pass over a key that the data does not hold.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        scaled = dict(data)
        for key in self.key_iterator(scaled):
            image = data[key]
            values = torch.from_numpy(scale_intensity(np.asarray(image[0])))[None]
            scaled[key] = MetaTensor(values, meta=image.meta) if isinstance(image, MetaTensor) else values
        return scaled


def _split(image: NDArray, mask: NDArray | None) -> tuple[NDArray[np.bool_], NDArray[np.floating], bool]:
    """Foreground, difference to the background, and whether the background lies inside the range of values."""
    values = np.asarray(image, dtype=np.result_type(image.dtype, np.float32))
    box = _core(values)
    background = _face_median(values[box])
    difference = np.zeros_like(values)
    difference[box] = values[box] - background
    sample = difference[box]
    if mask is not None:
        sample = sample[np.asarray(mask)[box] > 0]
    sample = sample[sample != 0]
    if not sample.size:
        return np.zeros(values.shape, dtype=bool), difference, False
    dark, bright = np.percentile(sample, [5, 95])
    noise = np.median(np.abs(_faces(values[box]) - background))
    threshold = max(_LEAST * max(bright, -dark), _NOISE * noise)
    straddles = bool(dark < -threshold)
    inside = difference != 0 if straddles and noise == 0 else np.abs(difference) > threshold
    if mask is not None:
        inside &= np.asarray(mask) > 0
    return inside, difference, straddles


def _core(values: NDArray) -> tuple[slice, ...]:
    """The image without constant faces, layer by layer.

    Padding may have another value than the background, and must count neither for it nor for the percentiles.
    """
    box = [slice(0, size) for size in values.shape]
    peeled = True
    while peeled:
        peeled = False
        for axis, part in enumerate(box):
            low, high = part.start, part.stop
            layers = np.moveaxis(values[tuple(box)], axis, 0)
            if high - low > 1 and _is_constant(layers[0]):
                low += 1
            if high - low > 1 and _is_constant(layers[-1]):
                high -= 1
            if (low, high) != (part.start, part.stop):
                box[axis], peeled = slice(low, high), True
    return tuple(box)


def _is_constant(face: NDArray) -> bool:
    return bool((face == face[0, 0]).all())


def _faces(values: NDArray) -> NDArray:
    return np.concatenate([np.moveaxis(values, axis, 0)[[0, -1]].ravel() for axis in range(values.ndim)])


def _face_median(values: NDArray) -> Any:
    # One of the values itself, not a mean of two: a constant background is met exactly.
    return np.percentile(_faces(values), 50, method="inverted_cdf")


def _largest_hull(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The foreground on the coarse grid with its gaps closed and its holes filled: its largest piece."""
    near = distance_transform_edt(~inside) * _COARSE <= _GAP if inside.any() else inside
    closed = binary_fill_holes(distance_transform_edt(near) * _COARSE > _GAP) | inside
    pieces, _ = label(closed)
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1 if closed.any() else closed


def _has_skull(scaled: NDArray[np.float32], depth: NDArray[np.float64]) -> bool:
    """Whether the mean intensity falls, then rises from the surface to a depth of 36 mm: scalp, skull, brain."""
    shells = [(depth > start) & (depth <= start + _COARSE) for start in np.arange(0.0, 36.0, _COARSE)]
    profile = np.array([scaled[shell].mean() for shell in shells if shell.any()])
    if not profile.size or profile.max() == 0:
        return False
    profile /= profile.max()
    falls = [profile[:place].max() - profile[place] for place in range(1, min(7, len(profile)))]
    rises = [profile[place:].max() - profile[place] for place in range(1, min(7, len(profile)))]
    return any(fall > 0.05 and rise > 0.2 for fall, rise in zip(falls, rises, strict=True))
