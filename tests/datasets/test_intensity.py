# SPDX-License-Identifier: Apache-2.0
"""Foreground, intensity scale and skull-stripping of an image, however it is stored."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from scripts.datasets.intensity import ScaleForegroundd, foreground, looks_skull_stripped, scale_intensity

SHAPE = (30, 36, 28)


def depth(shape: tuple[int, int, int] = SHAPE, size: float = 0.75) -> NDArray:
    """1 at the center, 0 at the surface of an ellipsoid, below 0 outside."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return 1 - np.sqrt(sum(axis**2 for axis in axes)) / size


def brain(seed: int = 0) -> tuple[NDArray, NDArray]:
    """A skull-stripped brain with values of 100 to 900 on a background of 0, and its mask."""
    values = 500 + 2500 * gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2)
    inside = depth() > 0
    return np.where(inside, values.clip(100, 900), 0).astype(np.float32), inside


def noisy_brain(noise: float) -> tuple[NDArray, NDArray]:
    """The magnitude of the brain with complex noise, as in a scan."""
    values, inside = brain()
    generator = np.random.default_rng(1)
    return np.abs(values + noise * (generator.normal(size=SHAPE) + 1j * generator.normal(size=SHAPE))), inside


@given(
    st.permutations([0, 1, 2]),
    st.sets(st.integers(0, 2)),
    st.lists(st.integers(0, 4), min_size=6, max_size=6),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([0.0, -700.0, 300.0]),
)
def test_flips_axes_and_padding_do_not_change_the_result(
    axes: list[int], flips: set[int], pad: list[int], seed: int, zeros: bool, background: float
) -> None:
    image = brain(seed)[0] + np.float32(background)
    widths = np.reshape(pad, (3, 2)).tolist()
    stored = np.flip(np.pad(image, widths, constant_values=0 if zeros else background).transpose(axes), tuple(flips))
    for function in (foreground, scale_intensity):
        expected = np.flip(np.pad(function(image), widths).transpose(axes), tuple(flips))
        result = function(stored)
        # Padding with zeros around another background is not part of the scan, so its result is not compared.
        core = np.flip(np.pad(np.ones(SHAPE, bool), widths).transpose(axes), tuple(flips))
        np.testing.assert_array_equal(result[core], expected[core])


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, np.uint16])
def test_stripped_brain_is_the_foreground_in_any_type(kind: type) -> None:
    image, inside = brain()
    np.testing.assert_array_equal(foreground(image.astype(kind)), inside)


@pytest.mark.parametrize("background", [0.0, -0.37])
def test_z_scored_brain_is_foreground(background: float) -> None:
    image, inside = brain()
    scored = np.where(inside, (image - image[inside].mean()) / image[inside].std(), background)
    assert (foreground(scored) == inside).mean() > 0.999
    scaled = scale_intensity(scored)
    assert (scaled[~inside] == 0).all()
    low, high = np.percentile(image[inside], [0.5, 99.5])
    np.testing.assert_allclose(scaled[inside], ((image - low) / (high - low)).clip(0, 1)[inside], atol=0.01)


def test_noise_is_background() -> None:
    image, inside = noisy_brain(noise=30)
    found = foreground(image)
    assert found[~inside].mean() < 0.01
    assert found[inside].mean() > 0.95


def test_outliers_change_the_foreground_and_the_scale_little() -> None:
    image, inside = brain()
    corrupted = image.copy()
    hit = inside & (np.random.default_rng(2).random(SHAPE) < 0.01)  # one percent
    corrupted[hit] = 1e6
    np.testing.assert_array_equal(foreground(corrupted)[~hit], inside[~hit])
    ratio = np.median(scale_intensity(corrupted)[inside] / scale_intensity(image)[inside])
    assert 0.6 < ratio <= 1.001


def test_scale_is_linear_from_background_to_the_99_5th_percentile() -> None:
    image, inside = brain()
    top = np.percentile(image[inside], 99.5)
    scaled = scale_intensity(image)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, (image / top).clip(0, 1), atol=1e-6)
    np.testing.assert_allclose(scale_intensity(3 * image + 50), scaled, atol=1e-5)


def test_mask_bounds_foreground_and_scale() -> None:
    image, inside = brain()
    mask = depth() > 0.4
    assert (foreground(image, mask) == (inside & mask)).all()
    scaled = scale_intensity(image, mask)
    assert (scaled[~mask] == 0).all()
    np.testing.assert_allclose(scaled[mask], (image / np.percentile(image[mask], 99.5)).clip(0, 1)[mask], atol=1e-6)


def test_constant_image_has_no_foreground() -> None:
    image = np.full((5, 6, 7), 3.0)
    assert not foreground(image).any()
    assert not scale_intensity(image).any()
    assert looks_skull_stripped(image, np.eye(4))


def test_dictionary_transform_scales_and_keeps_metadata() -> None:
    image, _ = brain()
    affine = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0]))
    tensor = MetaTensor(torch.from_numpy(image)[None], affine=affine, meta={"filename_or_obj": "a.nii"})
    scaled = ScaleForegroundd("image")({"image": tensor, "name": "a"})
    np.testing.assert_array_equal(scaled["image"][0].numpy(), scale_intensity(image))
    assert torch.equal(scaled["image"].affine, tensor.affine)
    assert scaled["image"].meta["filename_or_obj"] == "a.nii"
    assert scaled["name"] == "a"


SPACING = 4.0  # mm, of the phantoms below: 60 voxels are 240 mm


def layered(radius: float, skull: bool) -> NDArray:
    """A ball of this radius, in mm; its skull is dark from 8 to 16 mm below the surface."""
    inner = depth((60, 60, 60), size=radius / 118) * radius
    values = np.where(inner > 0, 100.0 + inner.clip(0, 40), 0)
    return np.where((inner > 8) & (inner < 16), 20.0, values) if skull else values


@pytest.mark.parametrize(
    ("radius", "skull", "stripped"),
    [
        (70, False, True),  # 4/3 pi 0.70^3 = 1.4 liters
        (76, False, True),  # 1.8 liters
        (92, True, False),  # 3.3 liters
        (92, False, False),
    ],
)
def test_brains_are_distinguished_from_heads_by_size(radius: float, skull: bool, stripped: bool) -> None:
    assert looks_skull_stripped(layered(radius, skull), np.diag([SPACING, SPACING, SPACING, 1.0])) == stripped


def test_part_of_a_head_is_recognized_by_its_skull() -> None:
    part = layered(92, True)[:, :, 36:]
    whole = layered(92, False)[:, :, 36:]
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    assert not looks_skull_stripped(part, affine)
    assert looks_skull_stripped(whole, affine)


@pytest.mark.parametrize(
    ("name", "stripped"),
    [
        ("raw/1003_T1.nii.gz", True),
        ("landmarks/1006_T1.nii.gz", True),
        ("oasis35/imagesTr/OASIS_1113_0000.nii.gz", True),
        ("aomic/sub-0002/norm.mgz", True),
        ("aomic/sub-0001/T1.mgz", False),
        ("aomic/sub-0002/T1.mgz", False),
    ],
)
@pytest.mark.slow
def test_skull_stripping_of_real_scans_is_recognized(shared_data: Path, name: str, stripped: bool) -> None:
    image = nib.load(shared_data / name)
    assert looks_skull_stripped(np.asarray(image.dataobj), image.affine) == stripped


@pytest.mark.slow
def test_scale_of_aligned_scans_is_that_of_their_99_9th_percentile(shared_data: Path) -> None:
    for file in sorted((shared_data / "oasis35" / "imagesTr").glob("*.nii.gz"))[::5]:
        image = np.asarray(nib.load(file).dataobj).astype(np.float32)
        expected = (image / np.percentile(image, 99.9)).clip(0, 1)
        np.testing.assert_allclose(scale_intensity(image), expected, atol=0.01)
