# SPDX-License-Identifier: Apache-2.0
"""A scan at several resolutions, for the affine alignment."""

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
from nibabel.orientations import inv_ornt_aff, io_orientation
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter

from scripts.geometry.grid import Grid, voxel_sizes
from scripts.geometry.network_grid import world_box
from scripts.geometry.resample import resample
from scripts.geometry.transforms import Affine

Matrix = NDArray[np.float64]
# Where on a grid the content of a scan is unknown, `(X, Y, Z)` bool.
Unknown = Callable[[Grid], NDArray[np.bool_]]

SPACINGS = (8.0, 4.0, 2.0)  # mm, of the levels
_MARGIN = 40.0  # mm of zeros around a scan: points that leave it must count as background, not drop out
_RIM = 10.0  # mm of background around the fixed scan that is compared as well
_FOREGROUND = 0.1  # of the intensities in [0, 1]: above is foreground


class Pyramid:
    """A scan on grids of 8, 4 and 2 mm along the RAS axes.

    ITK's world is used with RAS numbers here: both scans are, so the transform comes out in RAS.

    Attributes:
        axes: directions of the volume's own axes in the world, columns of a rotation `(3, 3)`, the first that of the
            axis nearest to the right, and so on.
    """

    def __init__(
        self, image: NDArray, affine: Matrix, mask: NDArray | None, unknown: Unknown | None, factor: float = 1.0
    ) -> None:
        affine = scaling(factor) @ affine
        values = np.asarray(image, dtype=np.float32)
        if mask is not None:
            values = values * (np.asarray(mask) > 0)
        inside = values > _FOREGROUND
        # Rounded here and below: rounding errors, which depend on how voxels are stored, must not grow on the way.
        low, high = np.round(world_box(inside, affine), 6)
        self.volume = inside.sum() * abs(np.linalg.det(np.asarray(affine)[:3, :3]))
        # The center of the foreground's shape: that of its brightness differs between contrasts.
        middle = np.argwhere(inside).mean(axis=0)
        self.center = np.round(Affine(np.asarray(affine, dtype=np.float64))(middle[None])[0], 6)
        finest = SPACINGS[-1]
        step = round(SPACINGS[0] / finest)
        size = step * np.ceil((high - low) / SPACINGS[0]).astype(int) + step
        grid = np.diag([finest, finest, finest, 1.0])
        grid[:3, 3] = (low + high) / 2 - finest * (size - 1) / 2
        level = resample(*_smooth_core(values, inside, affine), Grid(tuple(size.tolist()), grid))
        self._places = Affine(grid)(np.argwhere(level > _FOREGROUND).astype(np.float64))
        self.axes = _own_axes(np.asarray(affine, dtype=np.float64))
        level = np.pad(level.round(4), round(_MARGIN / finest))
        grid[:3, 3] -= finest * round(_MARGIN / finest)
        levels = [level]
        while len(levels) < len(SPACINGS):
            levels.append(gaussian_filter(levels[-1], 1.0, mode="constant")[::2, ::2, ::2])
        self.images = [_itk(array, grid[:3, 3], spacing) for array, spacing in zip(levels[::-1], SPACINGS, strict=True)]
        # The fixed scan is compared within the rim only.
        outer = [round((_MARGIN - 2 * SPACINGS[0]) / spacing) for spacing in SPACINGS]
        self.near = [image[cut:-cut, cut:-cut, cut:-cut] for image, cut in zip(self.images, outer, strict=True)]
        self.rims = [_rim(image, spacing) for image, spacing in zip(self.near, SPACINGS, strict=True)]
        self.known = None if unknown is None else [_known(image, unknown, factor) for image in self.images]
        if self.known is not None:
            parts = [known[cut:-cut, cut:-cut, cut:-cut] for known, cut in zip(self.known, outer, strict=True)]
            self.rims = [rim & known for rim, known in zip(self.rims, parts, strict=True)]

    def extents(self, axes: Matrix) -> Matrix:
        """Extents of the foreground along three axes, mm: the columns of a matrix `(3, 3)`."""
        return np.round(np.ptp(self._places @ axes, axis=0), 3)


def _own_axes(affine: Matrix) -> Matrix:
    """`Pyramid.axes`; a volume with another order of its axes has the same."""
    ordered = affine @ inv_ornt_aff(io_orientation(affine), (1, 1, 1))
    turn, _, back = np.linalg.svd(ordered[:3, :3] / voxel_sizes(ordered))
    axes = turn @ back
    return np.round(axes * [1, 1, np.linalg.det(axes)], 6)


def _smooth_core(
    values: NDArray[np.float32], inside: NDArray[np.bool_], affine: Matrix
) -> tuple[NDArray[np.float32], Matrix]:
    """The box of the foreground, smoothed against aliasing on the finest grid, and its affine."""
    spacing = voxel_sizes(affine)
    sigma = 0.4 * SPACINGS[-1] / spacing
    rim = np.ceil(4 * sigma).astype(int) + 1
    box = find_objects(inside.view(np.uint8))[0]
    corner = np.array([part.start for part in box]) - rim
    padded = np.pad(values, [(n, n) for n in rim])
    core = padded[tuple(slice(part.start, part.stop + 2 * n) for part, n in zip(box, rim, strict=True))]
    matrix = np.array(affine, dtype=np.float64)
    matrix[:3, 3] += matrix[:3, :3] @ corner
    return gaussian_filter(core, sigma, mode="constant"), matrix


def _itk(array: NDArray, origin: NDArray[np.float64], spacing: float) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetOrigin(origin.tolist())
    image.SetSpacing([spacing] * 3)
    return image


def _rim(image: sitk.Image, spacing: float) -> sitk.Image:
    """The foreground and what is near it: where a fixed scan is compared."""
    inside = sitk.Cast(image > _FOREGROUND, sitk.sitkUInt8)
    return sitk.BinaryDilate(inside, [max(1, round(_RIM / spacing))] * 3, sitk.sitkBox)


def _known(image: sitk.Image, unknown: Unknown, factor: float) -> sitk.Image:
    """Where a level of a scan that is enlarged by a factor is known, as a mask."""
    affine = np.diag([*image.GetSpacing(), 1.0])
    affine[:3, 3] = image.GetOrigin()
    known = sitk.GetImageFromArray((~unknown(Grid(image.GetSize(), scaling(1 / factor) @ affine))).astype(np.uint8).T)
    known.CopyInformation(image)
    return known


def scaling(factor: float) -> Matrix:
    """The matrix that enlarges by a factor about the origin."""
    return np.diag([factor, factor, factor, 1.0])
