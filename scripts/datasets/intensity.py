# SPDX-License-Identifier: Apache-2.0
"""Foreground, intensities scaled to [0, 1], and whether a scan is skull-stripped.

Results depend only on the values and on which of them lie at the faces and edges of the volume. So flips, permutations
of axes and padding with a constant do not change them.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt, label

from scripts.datasets.background import NOISE_THRESHOLD, THRESHOLD, find_background, reach
from scripts.geometry import Grid, resample, world_box

_OUTLIER = (
    2.0  # values further from the median than this multiple of the 5th or 95th percentile's distance are outliers
)
# From a background other than 0 to the 5th percentile of the foreground, in ranges from there to the 95th percentile:
# brains have up to 2.4 (infants, flat T1), OASIS scans with -1024 for 0 have 6.
_GAP = 3.0
_COMMON = 0.1  # share of the foreground or of the mask that both have at least; 0.9 and more in brains and their masks
_COARSE = 3.0  # mm, voxel size at which the shape of the foreground is examined
_LARGEST_BRAIN = 2.5  # liters; brains are smaller, also those that were scaled to a template
_CLOSING = 12.0  # mm, radius of the morphological closing of the foreground


def foreground(image: NDArray, mask: NDArray | None = None) -> NDArray[np.bool_]:
    """Mask of the voxels that are not background.

    Foreground differs from the background (see `find_background`) by more than a tenth of the 95th percentile of all
    differences, and by more than the background's noise. If a constant background value lies inside the range of
    intensities, as in z-scored brains, every voxel with another value is foreground. With a mask, noise outside of it
    does not count; if the background value lies inside the mask's range of intensities, all of the mask is foreground.

    Args:
        image: finite intensities, `(X, Y, Z)`, of any scale.
        mask: `(X, Y, Z)`, above 0 where foreground is allowed; None allows it everywhere.

    Returns:
        `(X, Y, Z)`.
    """
    return _split(image, mask)[0]


def scale_intensity(image: NDArray, mask: NDArray | None = None) -> NDArray[np.float32]:
    """Intensities scaled linearly from 0 (background) to 1 (99.5th percentile of the foreground), and clipped.

    If the background value lies inside the foreground's range of intensities, or far below it (-1024), the 0.5th
    percentile of the foreground becomes 0, and the background is set to 0.

    Args:
        image: finite intensities, `(X, Y, Z)`, of any scale.
        mask: `(X, Y, Z)`, above 0 inside; percentiles are those of the inside, and the outside is set to 0. None is a
            mask of the whole volume.

    Returns:
        `(X, Y, Z)` in [0, 1]; all 0 if there is no foreground.
    """
    inside, difference, own_range = _split(image, mask)
    if not inside.any():
        return np.zeros(image.shape, dtype=np.float32)
    scaled = _scaled(inside, difference, own_range)
    if mask is not None:
        scaled[np.asarray(mask) <= 0] = 0
    return scaled


def lies_in_background(image: NDArray, mask: NDArray[np.bool_]) -> bool:
    """Whether a mask lies beside what an image shows.

    Args:
        image: finite intensities, `(X, Y, Z)`, of any scale.
        mask: `(X, Y, Z)`, not empty.

    Returns:
        False also where the image shows nothing.
    """
    inside, difference, _ = _split(image, None)
    common = np.count_nonzero(inside & mask)
    dark, bright = reach(difference)
    return bool(
        common < _COMMON * min(np.count_nonzero(inside), np.count_nonzero(mask))
        and np.median(np.abs(difference[mask])) <= THRESHOLD * max(bright, -dark)
    )


def looks_skull_stripped(image: NDArray, affine: NDArray[np.float64]) -> bool:
    """Whether a scan shows a brain without a skull.

    A whole head has a larger volume than a brain. A part of a head is recognized by its skull: from the surface inwards
    the mean intensity falls and rises again. Parts of heads in T2 contrast are mistaken for brains.

    Args:
        image: finite intensities, `(X, Y, Z)`, of any scale.
        affine: voxel to RAS mm, `(4, 4)`.

    Returns:
        False for a head; True for a brain, and for an image without foreground.
    """
    inside, difference, own_range = _split(image, None)
    if not inside.any():
        return True
    low, high = world_box(inside, affine)
    matrix = np.diag([_COARSE, _COARSE, _COARSE, 1.0])
    rim = _CLOSING + 2 * _COARSE
    matrix[:3, 3] = low - rim
    size = np.ceil((high - low + 2 * rim) / _COARSE).astype(int)
    grid = Grid(tuple(size.tolist()), matrix)
    hull = _largest_hull(resample(inside.astype(np.float32), affine, grid) > 0.5)
    if hull.sum() * (_COARSE / 100) ** 3 > _LARGEST_BRAIN:
        return False
    scaled = resample(_scaled(inside, difference, own_range), affine, grid)
    return not _has_skull(scaled, distance_transform_edt(hull) * _COARSE)


class ScaleForegroundd(MapTransform):
    """`scale_intensity` of images with a channel axis, `(1, X, Y, Z)`; metadata is kept.

    Args:
        keys: keys of the images.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        scaled = dict(data)
        for key in self.key_iterator(scaled):
            image = data[key]
            values = torch.from_numpy(scale_intensity(np.asarray(image[0])))[None]
            scaled[key] = MetaTensor(values, meta=image.meta) if isinstance(image, MetaTensor) else values
        return scaled


def _split(image: NDArray, mask: NDArray | None) -> tuple[NDArray[np.bool_], NDArray[np.floating], bool]:
    """Foreground, differences from the background value, and whether that is no zero of the foreground's scale."""
    values = np.asarray(image, dtype=np.result_type(image.dtype, np.float32))
    allowed = None if mask is None else np.asarray(mask) > 0
    box = without_constant_faces(values)
    background, noise = find_background(values[box], None if allowed is None else allowed[box])
    difference = np.zeros_like(values)
    difference[box] = values[box] - background
    sample = difference[box] if allowed is None else difference[box][allowed[box]]
    dark, bright = reach(sample)
    if dark == bright == 0:
        return np.zeros(values.shape, dtype=bool), difference, False
    threshold = THRESHOLD * max(bright, -dark)
    if allowed is None or (allowed.all() and np.isfinite(noise)):
        threshold = max(threshold, NOISE_THRESHOLD * noise)
    inside_range = bool(dark < -threshold)
    if allowed is not None and inside_range and noise > 0:
        return allowed.copy(), difference, True
    inside = difference != 0 if inside_range and noise == 0 else np.abs(difference) > threshold
    far_below = background != 0 and dark > _GAP * (bright - dark)
    return inside if allowed is None else inside & allowed, difference, inside_range or far_below


def _scaled(inside: NDArray[np.bool_], difference: NDArray[np.floating], own_range: bool) -> NDArray[np.float32]:
    """The intensities of `scale_intensity`, of what `_split` gives for an image with a foreground."""
    darkest, dark, middle, bright, brightest = np.percentile(difference[inside], [0.5, 5, 50, 95, 99.5])
    lower = max(darkest, middle + _OUTLIER * (dark - middle)) if own_range else 0.0
    upper = min(brightest, middle + _OUTLIER * (bright - middle)) if bright > middle else brightest
    if upper == lower:
        return inside.astype(np.float32)
    scaled = ((difference - lower) / (upper - lower)).clip(0, 1).astype(np.float32)
    if own_range:
        scaled[~inside] = 0
    return scaled


def without_constant_faces(values: NDArray) -> tuple[slice, ...]:
    """The box that is left after faces of a constant value are removed, layer by layer.

    Padding may differ from the background; it must not change the background value or the percentiles.
    """
    box = [slice(0, size) for size in values.shape]
    changed = True
    while changed:
        changed = False
        for axis, part in enumerate(box):
            low, high = part.start, part.stop
            layers = np.moveaxis(values[tuple(box)], axis, 0)
            if high - low > 1 and _is_constant(layers[0]):
                low += 1
            if high - low > 1 and _is_constant(layers[-1]):
                high -= 1
            if (low, high) != (part.start, part.stop):
                box[axis], changed = slice(low, high), True
    return tuple(box)


def _is_constant(face: NDArray) -> bool:
    return bool((face == face[0, 0]).all())


def _largest_hull(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Largest connected component of the foreground on the coarse grid, after closing and filling of holes."""
    near = distance_transform_edt(~inside) * _COARSE <= _CLOSING if inside.any() else inside
    closed = binary_fill_holes(distance_transform_edt(near) * _COARSE > _CLOSING) | inside
    components, _ = label(closed)
    return components == np.bincount(components.ravel())[1:].argmax() + 1 if closed.any() else closed


def _has_skull(scaled: NDArray[np.float32], depth: NDArray[np.float64]) -> bool:
    """Whether the mean intensity falls and then rises between the surface and a depth of 36 mm: scalp, skull, brain."""
    shells = [(depth > start) & (depth <= start + _COARSE) for start in np.arange(0.0, 36.0, _COARSE)]
    profile = np.array([scaled[shell].mean() for shell in shells if shell.any()])
    if not profile.size or profile.max() == 0:
        return False
    profile /= profile.max()
    falls = [profile[:place].max() - profile[place] for place in range(1, min(7, len(profile)))]
    rises = [profile[place:].max() - profile[place] for place in range(1, min(7, len(profile)))]
    return any(fall > 0.05 and rise > 0.2 for fall, rise in zip(falls, rises, strict=True))
