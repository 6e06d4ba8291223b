# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import map_coordinates

from scripts.geometry.grid import Grid
from scripts.geometry.resample import resample
from scripts.geometry.transforms import Affine, as_field

SHAPE = (11, 12, 13)


def itk_image(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def test_linear_is_that_of_scipy_in_float64(truth, fixed, moving):
    image = np.random.default_rng(0).random(moving.shape)
    ours = resample(image, moving.affine, fixed, truth)
    assert ours.dtype == np.float64
    index = np.moveaxis(np.indices(fixed.shape), 0, -1).reshape(-1, 3)
    voxels = Affine(np.linalg.inv(moving.affine))(truth(Affine(fixed.affine)(index.astype(float))))
    expected = map_coordinates(image, voxels.T, order=1, mode="nearest")
    inside = ((voxels > -0.5) & (voxels < np.array(moving.shape) - 0.5)).all(axis=1)
    assert 0.5 < inside.mean() < 1
    np.testing.assert_allclose(ours.ravel(), np.where(inside, expected, 0), atol=1e-9)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_identity_on_the_same_grid_changes_nothing(mode, fixed):
    image = np.random.default_rng(0).random(fixed.shape).astype(np.float32)
    np.testing.assert_allclose(resample(image, fixed.affine, fixed, mode=mode), image, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.float64, bool])
def test_nearest_keeps_type_and_values(dtype, truth, fixed):
    image = np.random.default_rng(0).integers(0, 2, fixed.shape).astype(dtype)
    if dtype == np.uint32:
        image[image > 0] = 2**32 - 1
    result = resample(image, fixed.affine, fixed, truth, mode="nearest")
    assert result.dtype == dtype
    assert set(np.unique(result)) == set(np.unique(image))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_linear_between_whole_numbers_is_not_rounded(dtype):
    half = np.eye(4)
    half[0, 3] = 0.5
    image = np.zeros((4, 1, 1), dtype)
    image[2] = 1
    result = resample(image, np.eye(4), Grid((3, 1, 1), half))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.ravel(), [0, 0.5, 0.5])


@pytest.mark.parametrize(("mode", "itk_mode"), [("linear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)])
def test_image_ends_where_it_ends_in_itk(mode, itk_mode, fixed, moving):
    """Half a voxel beyond the outermost centers; what is left of the grid takes the value that is asked for."""
    image = np.random.default_rng(0).random(moving.shape).astype(np.float32)
    ours = resample(image, moving.affine, fixed, mode=mode, outside=-5)
    reference = itk_image(np.zeros(fixed.shape, np.float32), fixed.affine)
    moved = sitk.Resample(itk_image(image, moving.affine), reference, sitk.Transform(), itk_mode, -5.0)
    np.testing.assert_allclose(ours, sitk.GetArrayFromImage(moved).T, atol=1e-4)


def test_everything_outside_is_the_value_that_is_asked_for():
    away = np.eye(4)
    away[0, 3] = 1000
    result = resample(np.ones((3, 4, 5), np.int16), np.eye(4), Grid((2, 3, 2), away), mode="nearest", outside=-7)
    np.testing.assert_array_equal(result, np.full((2, 3, 2), -7, np.int16))


def test_one_slice_fills_its_own_thickness():
    fine = np.diag([1, 1, 0.25, 1.0])
    fine[2, 3] = -1
    result = resample(np.ones((2, 2, 1), np.float32), np.eye(4), Grid((2, 2, 9), fine))
    np.testing.assert_array_equal(result[0, 0], [0, 0, 1, 1, 1, 1, 1, 0, 0])


def test_field_moves_an_image_as_the_transform_that_it_was_made_of(truth, fixed, moving):
    image = np.random.default_rng(0).random(moving.shape).astype(np.float32)
    field = as_field(truth, fixed)
    results = [resample(image, moving.affine, fixed, t) for t in (truth, field)]
    np.testing.assert_allclose(*results, atol=1e-4)


def test_refuses_another_mode_and_a_series():
    with pytest.raises(ValueError, match="linear or nearest"):
        resample(np.ones((2, 2, 2)), np.eye(4), Grid((2, 2, 2), np.eye(4)), mode="cubic")
    with pytest.raises(ValueError, match=r"\(2, 2, 2, 2\)"):
        resample(np.ones((2, 2, 2, 2)), np.eye(4), Grid((2, 2, 2), np.eye(4)))
