# SPDX-License-Identifier: Apache-2.0
"""Registration from Python, in this process: two images in, a transform in both directions out.

    from scripts.api import register
    result = register("fixed.nii.gz", "moving.nii.gz")

The functions are those that `python -m scripts register` and configs/inference.json call; the defaults are that
config's. Nothing is printed but what Python's logging shows of the warnings that go to the logger `scripts`.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from scripts.geometry import Field, Transform
from scripts.io import (
    FilePath,
    ImageSource,
    file_sha256,
    image_path,
    load_weights,
    nifti_image,
    open_series,
    read_configs,
    read_grid,
    series_image,
)
from scripts.networks import CascadeInferer, MSFBNet
from scripts.registration import (
    ImageSources,
    Init,
    Job,
    MeasuredRegistration,
    Strip,
    align_pair,
    compare_contrasts,
    composed,
    computed_once,
    described_init,
    described_network,
    described_strip,
    estimate_quality,
    fuse,
    interpolation_mode,
    invert,
    measure,
    moved_image,
    moved_volumes,
    own_grid,
    predict,
    read_init,
    read_pair,
    read_strip,
    refine_pair,
    reject_worse,
    save_registration,
    to_network_grid,
)
from scripts.runtime import InputError, check_options, supports_bf16, usable_device

# A path, one of nibabel's images, or a tuple of an array `(X, Y, Z)` and its affine `(4, 4)`, voxel to RAS mm.
# In the place of an image (not of a mask or label map), the text `mni152` is the template.
Image = FilePath | SpatialImage | tuple[NDArray[Any], NDArray[np.floating]]
# A path of a file of landmarks, see `scripts.io.read_points`, or positions `(N, 3)`, RAS mm.
Landmarks = FilePath | NDArray[np.floating]

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "inference.json"
WEIGHTS = ROOT / "models" / "model.pt"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """A registration.

    Attributes:
        registration: everything that is known of it.
    """

    registration: MeasuredRegistration

    @property
    def moved(self) -> nib.Nifti1Image:
        """The moving image on the fixed image's grid, with the values of the moving image, float32."""
        array = moved_image(self.registration)
        return nifti_image(array, self.registration.fixed.scan.affine)

    @property
    def quality(self) -> nib.Nifti1Image:
        """Where it can be trusted, on the fixed image's grid, float32 in [0, 1]: see docs/register.md."""
        assert self.registration.quality is not None
        return nifti_image(self.registration.quality, self.registration.fixed.scan.affine)

    @property
    def warp(self) -> Field:
        """The whole transform as a field on the fixed image's grid: `warp(points)` maps points `(N, 3)`, RAS mm, of the
        fixed to points of the moving image."""
        return self.registration.warp

    @property
    def inverse_warp(self) -> Field:
        """Its inverse on the moving image's grid: points of the moving to points of the fixed image."""
        assert self.registration.inverse_warp is not None
        return self.registration.inverse_warp

    @property
    def affine(self) -> NDArray[np.float64]:
        """The affine part, `(4, 4)`, RAS mm; it is applied after the deformation."""
        return self.registration.affine

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Content of metrics.json."""
        return self.registration.metrics

    @property
    def verdict(self) -> Literal["pass", "look", "fail"]:
        """Whether the result can be used: see docs/register.md."""
        verdict: Literal["pass", "look", "fail"] = self.metrics["verdict"]
        return verdict

    @property
    def reasons(self) -> Sequence[str]:
        """Reasons for the verdict, the gravest first."""
        reasons: Sequence[str] = self.metrics["reasons"]
        return reasons

    def save(self, folder: FilePath) -> None:
        """Write the files of `python -m scripts register` into a folder, all of them or none.

        Raises:
            OSError, InputError: if a file cannot be written.
        """
        save_registration(self.registration, Path(folder), composite=False)


def load_network(weights: FilePath = WEIGHTS, device: torch.device | str | None = None) -> MSFBNet:
    """Load the network of configs/inference.json, in evaluation mode.

    Args:
        weights: file of its weights.
        device: device for the network; by default a GPU where there is one, else the CPU.

    Returns:
        `MSFBNet`: an image `(B, 2, D, H, W)` in [0, 1], fixed and moving, to a field `(B, 3, D, H, W)`, voxels.

    Raises:
        InputError: if the file is missing, unreadable or does not fit, or the device cannot be used.
    """
    used = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with torch.random.fork_rng(devices=[]):  # the first weights are random, and the caller's generator stays as it is
        network: MSFBNet = _config().get_parsed_content("network_def")
    load_weights(network, os.fspath(weights))
    return network.eval().to(used)


def register(
    fixed: Image,
    moving: Image,
    *,
    weights: FilePath = WEIGHTS,
    network: MSFBNet | None = None,
    strip: Strip = "auto",
    init: FilePath | NDArray[np.floating] = "affine",
    refine: int = 0,
    fixed_mask: Image | None = None,
    moving_mask: Image | None = None,
    fixed_exclude: Image | None = None,
    moving_exclude: Image | None = None,
    fixed_label: Image | None = None,
    moving_label: Image | None = None,
    fixed_landmarks: Landmarks | None = None,
    moving_landmarks: Landmarks | None = None,
    volume: int | None = None,
    assume_ras: bool = False,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Result:
    """Register a moving image to a fixed one.

    Args:
        fixed: image that stays as it is.
        moving: image that is warped.
        weights: file of the network's weights.
        network: network of `load_network`, instead of `weights`: saves loading it again for many pairs.
        strip: where the brain is searched if there is no mask: `auto`, in whole heads; `yes`, in both scans; `no`.
        init: start of the registration: `affine`, `rigid`, `none`, the path of an ITK affine file, or a matrix
            `(4, 4)`, points of the fixed to points of the moving image, RAS mm.
        refine: number of optimization steps on the pair after the network, from 0.
        fixed_mask, moving_mask: brain masks; what they leave out is background, their holes do not count.
        fixed_exclude, moving_exclude: masks of what does not count, such as lesions: the field follows what is around.
        fixed_label, moving_label: label maps, to measure Dice and HD95.
        fixed_landmarks, moving_landmarks: the same landmarks of both images, to measure the target registration error;
            matched by name where both are files with names, else by row.
        volume: number of the volume of a 4-D image, from 0.
        assume_ras: take images without orientation (no sform, no qform) as RAS.
        seed: seed of the points at which the affine alignment compares the images.
        device: device that computes; by default that of `network`, or a GPU where there is one, else the CPU.

    Returns:
        The result, whatever its verdict.

    Raises:
        InputError: for bad input, in one line.
    """
    check_options({"refine": refine, "volume": volume, "assume_ras": assume_ras, "seed": seed})
    start = _init(init)
    if network is None:
        used = {"path": str(weights), "sha256": file_sha256(weights)}
        network = load_network(weights, device)
    else:
        used = None
    device = next(network.parameters()).device if device is None else usable_device(device)
    config, bf16 = _config(), supports_bf16(device)
    settings = {
        "init": init.tolist() if isinstance(init, np.ndarray) else described_init(os.fspath(init)),
        "volume": volume,
        "assume_ras": assume_ras,
        "strip": described_strip(strip),
        "composite": False,
        "refine": refine,
        "seed": seed,
        "network_spacing": config["network_spacing"],
        "network_size": config["network_size"],
        "weights": used,
        "network": described_network(network),
        "bf16": bf16,
        "labels": None,
    }
    job = Job(
        name="pair",
        folder="",
        fixed=_sources(image_path(fixed), fixed_mask, fixed_exclude, fixed_label, fixed_landmarks),
        moving=_sources(image_path(moving), moving_mask, moving_exclude, moving_label, moving_landmarks),
    )
    pair = read_pair(job, volume, assume_ras, read_strip(strip))
    for read in pair.images:
        for warning in read.warnings:
            logger.warning("%s: %s", read.scan.path, warning)
    aligned = align_pair(pair, start, seed)
    prepared = compare_contrasts(
        to_network_grid(aligned, network.multiple, config["network_spacing"], config["network_size"])
    )
    for warning in prepared.warnings:
        logger.warning("%s and %s: %s", pair.fixed.scan.path, pair.moving.scan.path, warning)
    inferer = CascadeInferer(bf16)
    predicted = refine_pair(predict(prepared, network, inferer, device), refine, device)
    registered = estimate_quality(reject_worse(fuse(predicted)), network, inferer, device)
    return Result(measure(invert(registered), settings))


def apply(
    transform: Result | Transform | FilePath | Sequence[FilePath],
    image: Image,
    reference: Image | None = None,
    *,
    interpolation: Literal["auto", "linear", "nearest"] = "auto",
    inverse: bool = False,
    assume_ras: bool = False,
) -> nib.Nifti1Image:
    """Pull an image, a 4-D series or a label map onto a reference grid.

    Args:
        transform: points of the reference to points of the image: a result of `register`, a transform, its file, or
            several files, the first of which is applied first to the reference's points.
        image: image in the space that the transform leads to.
        reference: image that gives the grid; by default the transform's own grid.
        interpolation: `auto` is nearest for labels, linear for intensities, an error where that cannot be told.
        inverse: invert the transform; of a result, the inverse warp is taken.
        assume_ras: take files and images without orientation (no sform, no qform) as RAS.

    Returns:
        The image on the reference grid. `nearest` keeps its data type.

    Raises:
        InputError: for bad input, in one line.
    """
    pull = _transform(transform, inverse, assume_ras)
    if reference is None:
        grid = own_grid(pull, "the transform", "reference")
    else:
        grid = read_grid(_source(image_path(reference)), assume_ras)
    series = open_series(_source(image_path(image)), assume_ras)
    whole = computed_once(pull, grid, [series])
    volumes = moved_volumes(series, grid, whole, interpolation_mode(series, interpolation))
    return series_image(volumes, grid, series)


def _config() -> ConfigParser:
    return read_configs(str(CONFIG))


def _init(init: FilePath | NDArray[np.floating]) -> Init:
    return _matrix(init, "init") if isinstance(init, np.ndarray) else read_init(os.fspath(init))


def _matrix(values: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < 4:
        raise InputError(f"{name} of shape {matrix.shape}: want an invertible matrix (4, 4), RAS mm")
    return matrix


def _source(image: Image) -> ImageSource:
    if not isinstance(image, tuple):
        return image
    array, affine = np.asarray(image[0]), _matrix(image[1], "affine")
    if array.dtype.kind not in "buif":
        raise InputError(f"array of type {array.dtype}: want real numbers")
    # NIfTI has no such types.
    array = array.astype({"bool": np.uint8, "float16": np.float32}.get(array.dtype.name, array.dtype), copy=False)
    return nifti_image(array, affine)


def _sources(
    image: Image, mask: Image | None, exclude: Image | None, label: Image | None, landmarks: Landmarks | None
) -> ImageSources:
    return ImageSources(
        image=_source(image),
        mask=None if mask is None else _source(mask),
        exclude=None if exclude is None else _source(exclude),
        label=None if label is None else _source(label),
        landmarks=landmarks,
    )


def _transform(
    transform: Result | Transform | FilePath | Sequence[FilePath], inverse: bool, assume_ras: bool
) -> Transform:
    if isinstance(transform, Result):
        return transform.inverse_warp if inverse else transform.warp
    if isinstance(transform, str | os.PathLike):
        return composed([os.fspath(transform)], inverse, assume_ras)
    if isinstance(transform, Sequence):
        return composed([os.fspath(path) for path in transform], inverse, assume_ras)
    return transform.inverse() if inverse else transform
