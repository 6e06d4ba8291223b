# SPDX-License-Identifier: Apache-2.0
"""Scans that are cut off: where the brain or the head goes on beyond the border of the volume."""

from typing import NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from scripts.datasets.intensity import without_constant_faces
from scripts.geometry import voxel_sizes

# Area of the foreground at the border of the volume, cm². Whole brains that are cropped tightly have up to 1.3 (57
# scans of adults and infants), brain stems 6.6 to 7.9 where they are thickest. Brains without their upper 5 mm have
# 2 to 19, so some of them are found; without their upper 10 mm they have 21 to 51.
_BRAIN = 10.0
# The skin of a head may be cut: at its top 16 and 21 mm lie above two brains, and heads without them have 71 and 99.
_HEAD = 60.0
_DEPTH = 6.0  # mm, from the border inwards, of the layers by which the area at the border is judged
_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
_SIDES = {"S": "top", "I": "bottom", "A": "front", "P": "back", "L": "left side", "R": "right side"}


class Cut(NamedTuple):
    """A side at which a scan is cut off.

    Attributes:
        side: of the person, such as `top`.
        area: foreground at the border of the volume, cm².
        axis: array axis across the side.
        last: outermost voxel along the axis that shows something.
        outwards: 1 where the axis leads out of the volume there, -1 where it leads into it.
    """

    side: str
    area: float
    axis: int
    last: int
    outwards: int


def find_cuts(
    image: NDArray, affine: NDArray[np.floating], inside: NDArray[np.bool_], stripped: bool = True
) -> tuple[Cut, ...]:
    """The sides at which a scan is cut off.

    A volume ends where its faces have a constant value: what was padded after the cut does not hide it. A foreground
    that ends near a face becomes smaller towards it, one that is cut off keeps its area.

    Args:
        image: `(X, Y, Z)`.
        affine: `(4, 4)`, voxel to RAS mm.
        inside: foreground, `(X, Y, Z)`.
        stripped: whether it is a brain; of a head more may be missing, and the neck at its bottom does not count.
    """
    spacing, directions = voxel_sizes(affine), nib.orientations.aff2axcodes(affine)
    box = without_constant_faces(image)
    cuts = []
    for axis, direction in enumerate(directions):
        layers = inside[box].sum(axis=tuple({0, 1, 2} - {axis})) * float(np.prod(np.delete(spacing, axis))) / 100
        first, last = box[axis].start, box[axis].stop - 1
        for side, ordered, border, outwards in (
            (_OPPOSITE[direction], layers, first, -1),
            (direction, layers[::-1], last, 1),
        ):
            area = _at_border(ordered, float(spacing[axis]))
            if area > (_BRAIN if stripped else _HEAD) and (stripped or side != "I"):
                cuts.append(Cut(_SIDES[side], area, axis, border, outwards))
    return tuple(cuts)


def _at_border(layers: NDArray[np.floating], thickness: float) -> float:
    """Area at the border of the volume, by a line through those of the outermost layers; at most that of the first."""
    count = min(len(layers), max(2, round(_DEPTH / thickness)))
    depths = (np.arange(count) + 0.5) * thickness
    return float(min(np.polyfit(depths, layers[:count], 1)[1], layers[0])) if count > 1 else float(layers[0])
