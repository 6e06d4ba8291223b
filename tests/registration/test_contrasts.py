# SPDX-License-Identifier: Apache-2.0
"""Scans of different contrasts are registered in one, and a deformation that makes them less alike is taken back."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift
from torch import nn

from scripts.api import register
from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Field
from scripts.io.scans import Scan
from scripts.registration import compare_contrasts, fuse, measure, predict, reject_worse
from scripts.registration.pair import ImageSources, Job, LoadedImage, PredictedPair, Registration

SIZE = (40, 44, 36)
MOVE = 3.0  # voxels along the first axis


def brain() -> NDArray[np.float32]:
    """A ball of smooth noise in [0.3, 1], 0 around it."""
    distance = np.linalg.norm(np.indices(SIZE) - np.reshape([20, 22, 18], (3, 1, 1, 1)), axis=0)
    values = gaussian_filter(np.random.default_rng(0).normal(size=SIZE), 2)
    return np.where(distance < 13, 0.3 + 0.7 * (values - values.min()) / np.ptp(values), 0).astype(np.float32)


def inverted(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(image > 0, 1.3 - image, 0).astype(np.float32)


def moved_by(voxels: float, image: NDArray) -> NDArray[np.float32]:
    return shift(image, (voxels, 0, 0), order=1).astype(np.float32)


def predicted(fixed: NDArray[np.float32], moving: NDArray[np.float32], along: float) -> Registration:
    """A registration whose deformation is the same for all voxels."""
    field = torch.zeros(3, *SIZE)
    field[0] = along
    images = [
        LoadedImage(
            scan=Scan("image.nii", image, np.eye(4), np.dtype(np.float32), 1.0, 0.0, "sform (scanner)", ()),
            foreground=image > 0,
            label=(image > 0.6).astype(np.int32),
        )
        for image in (fixed, moving)
    ]
    source = ImageSources(image="image.nii")
    pair = PredictedPair(
        job=Job(name="pair", folder="out", fixed=source, moving=source),
        fixed=images[0],
        moving=images[1],
        timings={},
        affine=np.eye(4),
        grid=Grid(SIZE, np.eye(4)),
        image=np.stack([fixed, moving]),
        inputs=(np.stack([fixed, moving]),),
        foregrounds=np.stack([fixed > 0, moving > 0]),
        field=field,
        device="cpu",
    )
    return fuse(pair)


def largest(field: Field) -> float:
    return float(np.abs(field.displacement).max())


def test_deformation_that_makes_images_more_alike_is_kept_as_it_is() -> None:
    for contrast in (np.copy, inverted):
        registration = predicted(brain(), moved_by(MOVE, contrast(brain())), MOVE)
        checked = reject_worse(registration)
        assert checked.rejected is None
        assert checked.warp is registration.warp


@pytest.mark.parametrize("contrast", [np.copy, inverted])
def test_deformation_that_makes_images_less_alike_is_taken_back(contrast) -> None:
    registration = replace(predicted(brain(), contrast(brain()), MOVE), local_correlation=0.0)
    checked = reject_worse(registration)
    assert largest(checked.warp) == largest(checked.deformation) == 0
    metrics = measure(checked, {}).metrics
    assert metrics["verdict"] == "fail"
    assert (
        "mutual information" in metrics["reasons"][0]
        and "The affine alignment alone was saved" in metrics["reasons"][0]
    )
    assert metrics["dice"] == metrics["dice_before"] > metrics["rejected"]["dice"]
    assert metrics["mutual_information"] == metrics["mutual_information_before"]
    assert metrics["rejected"]["mutual_information"] < metrics["mutual_information"]


def test_deformation_of_next_to_nothing_is_kept() -> None:
    registration = predicted(brain(), brain(), 1e-3)
    assert reject_worse(registration).rejected is None


def test_images_of_one_contrast_stay_as_they_are() -> None:
    noisy = brain() + np.where(brain() > 0, np.random.default_rng(1).normal(scale=0.02, size=SIZE), 0)
    darker = 0.4 * brain() ** 2
    for moving in (brain(), noisy.astype(np.float32), darker):
        pair = compare_contrasts(predicted(brain(), moving, 0.0))
        assert pair.in_one_contrast is None and pair.compared is pair.image


def test_images_of_two_contrasts_are_seen_in_either() -> None:
    pair = compare_contrasts(predicted(brain(), inverted(brain()), 0.0))
    for image in pair.in_one_contrast:
        np.testing.assert_allclose(image[0], image[1], atol=0.05)
    fixed, moving = sorted(pair.in_one_contrast, key=lambda image: np.abs(image - brain()).max())
    np.testing.assert_array_equal(fixed[0], brain())
    np.testing.assert_array_equal(moving[1], inverted(brain()))
    assert pair.compared is pair.in_one_contrast[0]
    assert pair.warnings == ()


def test_field_of_two_contrasts_is_the_mean_of_both() -> None:
    """The network shifts by the intensity of the fixed image times 10: by 2 and by 6."""
    versions = tuple(np.full((2, *SIZE), value, np.float32) for value in (0.2, 0.6))
    pair = replace(predicted(brain(), brain(), 0.0), in_one_contrast=versions)
    shifts = lambda image, network: 10 * image[:, :1].expand(-1, 3, -1, -1, -1)  # noqa: E731
    field = predict(pair, nn.Identity(), shifts, torch.device("cpu")).field
    np.testing.assert_allclose(field, 4, rtol=1e-6)


# --- real scans -------------------------------------------------------------------------------------------------------


def flair_like(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dark fluid, gray matter brighter than white."""
    level = values / np.percentile(values[values > 0], 99)
    return np.where(values > 0, 1000 * np.interp(level, [0, 0.25, 0.55, 0.85, 1.2], [0.05, 0.1, 1, 0.7, 0.6]), 0)


@pytest.mark.slow
def test_adult_of_another_contrast_is_registered(shared_data: Path) -> None:
    """T1 to T1 has 0.620, the affine 0.392."""
    folder = shared_data / "oasis35"
    moving = nib.load(folder / "imagesTr" / "OASIS_1010_0000.nii.gz")
    result = register(
        folder / "imagesTr" / "OASIS_1003_0000.nii.gz",
        (flair_like(moving.get_fdata(dtype=np.float32)).astype(np.int16), moving.affine),
        fixed_label=folder / "labelsTr" / "OASIS_1003_0000.nii.gz",
        moving_label=folder / "labelsTr" / "OASIS_1010_0000.nii.gz",
        device="cpu",
    )
    assert result.metrics["dice"] > 0.57
    assert result.verdict != "fail"


@pytest.mark.slow
@pytest.mark.parametrize(("fixed", "moving"), [("T02_T1w", "T03_T2w"), ("T13_T2w", "T14_T1w")])
def test_infants_of_two_contrasts_are_better_than_their_affine(shared_data: Path, fixed: str, moving: str) -> None:
    folder = shared_data / "contrasts" / "infants"
    result = register(
        folder / f"{fixed}.nii.gz",
        folder / f"{moving}.nii.gz",
        fixed_label=folder / f"{fixed[:3]}_label.nii.gz",
        moving_label=folder / f"{moving[:3]}_label.nii.gz",
        device="cpu",
    )
    assert result.metrics["dice"] > result.metrics["dice_before"] + 0.03
    assert result.verdict != "fail"
