# SPDX-License-Identifier: Apache-2.0
"""Images as NIfTI: values, types, slope and the two forms of the affine."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from scripts.io import save_image
from scripts.runtime import InputError
from tests.fixtures.grids import rotation
from tests.io.examples import AFFINES, affine_from


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.nii.gz"


ALL_TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64]


def limits(dtype: type) -> np.iinfo | np.finfo:
    return np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)


@pytest.mark.parametrize("dtype", ALL_TYPES)
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5)])
def test_image_and_series_keep_values_type_and_affine(path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    values.flat[:2] = limits(dtype).min, limits(dtype).max
    save_image(path, values, AFFINES["oblique"], dtype)
    image = nib.load(path)
    assert image.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(image.dataobj), values)
    np.testing.assert_allclose(image.affine, AFFINES["oblique"], atol=1e-5)


@pytest.mark.parametrize(
    ("given", "largest", "stored"),
    [
        (bool, 1, np.uint8),
        (np.float16, 3, np.float32),
        (np.int64, 2**31 - 1, np.int32),
        (np.int64, 2**32 - 1, np.uint32),
        (np.int64, 2**40, np.int64),
        (np.uint64, 2**31 - 1, np.int32),
        (np.uint64, 2**64 - 1, np.uint64),
    ],
)
def test_types_that_others_do_not_read_change_without_loss(path: Path, given: type, largest: int, stored: type) -> None:
    values = np.array([0, largest], dtype=given).reshape(1, 1, 2)
    save_image(path, values, np.eye(4))
    image = nib.load(path)
    assert image.get_data_dtype() == stored
    assert np.asarray(image.dataobj).ravel().tolist() == [0, largest]


def test_itk_reads_the_uint32_that_we_write(path: Path) -> None:
    labels = np.array([0, 2**31, 2**32 - 1], np.uint32).reshape(1, 1, 3)
    save_image(path, labels, np.eye(4))
    image = sitk.ReadImage(str(path))
    assert image.GetPixelID() == sitk.sitkUInt32
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).ravel(), labels.ravel())


def test_values_are_rounded_and_clipped_to_the_type(path: Path) -> None:
    save_image(path, np.array([-7.6, -0.4, 0.6, 254.4, 300.0]).reshape(1, 1, 5), np.eye(4), np.uint8)
    assert np.asarray(nib.load(path).dataobj).ravel().tolist() == [0, 0, 1, 254, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_reader_gets_the_values_through_slope_and_intercept(path: Path, dtype: type) -> None:
    values = np.random.default_rng(0).uniform(-20, 60, (3, 4, 5)).astype(np.float32)
    save_image(path, values, np.eye(4), dtype, slope=0.5, inter=-10)
    image = nib.load(path)
    assert image.get_data_dtype() == dtype
    assert (image.dataobj.slope, image.dataobj.inter) == (0.5, -10)
    limit = -10 if dtype == np.uint8 else -np.inf
    error = np.abs(np.asarray(image.dataobj) - values.clip(limit))
    assert error.max() <= (0.25 if np.dtype(dtype).kind in "iu" else 1e-5)
    np.testing.assert_allclose(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, image.dataobj, atol=1e-5)


@pytest.mark.parametrize("name", ["moved.mgz", "moved", "moved.nii.bz2"])
def test_unknown_ending_leaves_no_trace(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"ends in \.nii\.gz or \.nii"):
        save_image(tmp_path / name, np.zeros((2, 2, 2), np.float32), np.eye(4))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [name for name in AFFINES if name != "nearly upside down"])
def test_qform_agrees_with_sform(path: Path, name: str) -> None:
    save_image(path, np.zeros((12, 14, 10), np.float32), AFFINES[name])
    np.testing.assert_allclose(nib.load(path).get_qform(), AFFINES[name], atol=1e-4)


def test_affine_rounded_by_a_header_still_gets_a_qform(path: Path) -> None:
    for seed in range(20):
        angles = np.random.default_rng(seed).uniform(-30, 30, 3)
        save_image(path, np.zeros((2, 2, 2), np.float32), affine_from(rotation(angles)).astype(np.float32))
        assert int(nib.load(path).header["qform_code"]) == 1
