# SPDX-License-Identifier: Apache-2.0
"""A pair on its way through a registration: each step takes one of these values and returns the next.

    Job -> LoadedPair -> AlignedPair -> PreparedPair -> PredictedPair -> Registration -> MeasuredRegistration

Arrays of the images have their files' own axes, `(X, Y, Z)`. From `PreparedPair` on there is the network's grid as
well, along the RAS axes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from scripts.datasets import Cut
from scripts.geometry import Affine, Chain, Field, Grid
from scripts.io import FilePath, ImageSource, Scan

ROLES = ("fixed", "moving")
FROM_FILE = "file"  # where a mask is from

Timings = Mapping[str, Mapping[str, float]]
Digests = Mapping[str, str | None]  # SHA-256 of what a result depends on, by name; see `registration.fingerprint`


@dataclass(frozen=True, kw_only=True)
class ImageSources:
    """An image and what belongs to it: paths, or what nibabel or NumPy hold in memory.

    Attributes:
        image: NIfTI or .mgz.
        mask: brain mask.
        exclude: mask of what does not count, such as a lesion.
        label: label map.
        landmarks: file of `io.read_points`, or an array `(N, 3)`, RAS mm.
        keypoints: CSV in Learn2Reg's layout, voxels.
    """

    image: ImageSource
    mask: ImageSource | None = None
    exclude: ImageSource | None = None
    label: ImageSource | None = None
    landmarks: FilePath | NDArray[np.floating] | None = None
    keypoints: FilePath | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A registration to do.

    Attributes:
        name: name of the pair.
        folder: folder of its results.
        fixed, moving: the two images.
    """

    name: str
    folder: str
    fixed: ImageSources
    moving: ImageSources


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedImage:
    """An image and what belongs to it, read and checked.

    Attributes:
        scan: the image.
        foreground: `(X, Y, Z)` bool, where it shows something.
        mask: `(X, Y, Z)` bool, on the scan's grid, with all that is excluded; None where the whole scan counts.
        mask_from: `FROM_FILE`, or name and version of the program that found the mask; None without one.
        shows_head: whether the scan shows a skull; None where a mask was given, so that nobody looked.
        excluded: `(X, Y, Z)` bool, where the scan does not count; None where all of it does.
        filled: `(X, Y, Z)` float32, the scan continued smoothly into what is excluded; None where nothing is.
        cuts: sides where it is cut off.
        label: `(X, Y, Z)` int32 or uint32, on the scan's grid.
        landmarks: `(N, 3)` float64, RAS mm; where both images have some, row i of both is the same.
        warnings: what is odd about the files, one line each.
    """

    scan: Scan
    foreground: NDArray[np.bool_]
    mask: NDArray[np.bool_] | None = None
    mask_from: str | None = None
    shows_head: bool | None = None
    excluded: NDArray[np.bool_] | None = None
    filled: NDArray[np.float32] | None = None
    cuts: tuple[Cut, ...] = ()
    label: NDArray[Any] | None = None
    landmarks: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_partly_unknown(self) -> bool:
        """Whether something is excluded or cut off."""
        return self.excluded is not None or bool(self.cuts)

    @property
    def found_mask(self) -> NDArray[np.bool_] | None:
        """The mask, if it was found in the scan, and not given."""
        return None if self.mask_from in (None, FROM_FILE) else self.mask

    @property
    def content(self) -> NDArray[np.float32]:
        """What counts in the registration, `(X, Y, Z)`: the scan, or what it is filled to."""
        array: NDArray[np.float32] = self.scan.array if self.filled is None else self.filled
        return array


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedPair:
    """Both images.

    Attributes:
        job: what is to be done.
        fixed, moving: the images.
        timings: seconds and peak memory of each step so far, see `runtime.timed`.
        digests: of the files, as they were before they were read.
        landmarks: how the landmarks of both images were matched, as `metrics.json` has it; None without such.
    """

    job: Job
    fixed: LoadedImage
    moving: LoadedImage
    timings: Timings
    digests: Digests = field(default_factory=dict)
    landmarks: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Name of the pair."""
        return self.job.name

    @property
    def images(self) -> tuple[LoadedImage, LoadedImage]:
        """The fixed and the moving image."""
        return self.fixed, self.moving


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedPair(LoadedPair):
    """Both images and the affine map between them.

    Attributes:
        affine: `(4, 4)`, points of the fixed to points of the moving image, RAS mm.
        intensities: fixed and moving image, `(X, Y, Z)` float32 in [0, 1].
        warnings: what is odd about the two images together, one line each.
    """

    affine: NDArray[np.float64]
    intensities: tuple[NDArray[np.float32], NDArray[np.float32]]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedPair(LoadedPair):
    """What the network sees.

    Attributes:
        affine: as in `AlignedPair`.
        grid: the network's grid, along the RAS axes, with cubic voxels.
        image: `(2, X, Y, Z)` float32 in [0, 1], the fixed and the affinely aligned moving image on that grid.
        foregrounds: `(2, X, Y, Z)` bool, where these images show something.
        unknown: `(2, X, Y, Z)` bool, where their content is unknown: excluded, or beyond a cut; None where it is known.
        local_correlation: see `metrics.local_correlation`; None where it is not measured.
        in_one_contrast: of images of different contrasts, those of `intensities.in_either_contrast`, first the one in
            which they are more alike; None of images of one contrast.
        warnings: as in `AlignedPair`.
    """

    affine: NDArray[np.float64]
    grid: Grid
    image: NDArray[np.float32]
    foregrounds: NDArray[np.bool_]
    unknown: NDArray[np.bool_] | None = None
    local_correlation: float | None = None
    in_one_contrast: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Where each image shows something that is known, `(2, X, Y, Z)`."""
        return self.foregrounds if self.unknown is None else self.foregrounds & ~self.unknown

    @property
    def compared(self) -> NDArray[np.float32]:
        """Both images in one contrast, `(2, X, Y, Z)`: what LNCC compares."""
        return self.image if self.in_one_contrast is None else self.in_one_contrast[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedPair(PreparedPair):
    """What the network predicts.

    Attributes:
        inputs: what the network saw, in each contrast: `in_one_contrast` or `image`, filled where they are unknown.
        field: `(3, X, Y, Z)` float32 on the CPU, voxels of the network's grid.
        device: the device that predicted it.
        refinement: figures of the refinement; None without one.
    """

    inputs: tuple[NDArray[np.float32], ...]
    field: Tensor
    device: str
    refinement: Mapping[str, float] | None = None

    @property
    def seen(self) -> NDArray[np.float32]:
        """`compared` with what was shown to the network where it is unknown, `(2, X, Y, Z)`."""
        return self.inputs[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration(PredictedPair):
    """The transform between the images in the world.

    Attributes:
        deformation: `field` as a displacement in RAS mm; it is applied before the affine map.
        warp: both as one field on the fixed image's own grid: points of the fixed to points of the moving image.
        quality: `(X, Y, Z)` float32 in [0, 1] on the fixed image's own grid, see `estimate_quality`; None where it was
            not asked for.
        inverse_warp: the inverse as a field on the moving image's own grid; None where it was not asked for.
        similarity: figures of `measuring.similarity`, where they are known already.
        rejected: figures of a deformation that was taken back, see `reject_worse`; None where it was not.
    """

    deformation: Field
    warp: Field
    quality: NDArray[np.float32] | None = None
    inverse_warp: Field | None = None
    similarity: Mapping[str, float] | None = None
    rejected: Mapping[str, float] | None = None

    @property
    def transform(self) -> Chain:
        """Points of the fixed to points of the moving image, RAS mm."""
        return Chain([Affine(self.affine), self.deformation])


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredRegistration(Registration):
    """A registration and its quality.

    Attributes:
        metrics: content of metrics.json.
    """

    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """A pair that could not be registered.

    Attributes:
        name: name of the pair.
        error: what went wrong.
    """

    name: str
    error: Exception


Next = TypeVar("Next", bound=LoadedPair)


def advanced(kind: type[Next], pair: LoadedPair, **known: Any) -> Next:
    """The next value of a pair: what it holds already and `kind` has a place for, and what is known now."""
    places = {place.name for place in fields(kind)}
    return kind(**{name: value for name, value in vars(pair).items() if name in places} | known)
