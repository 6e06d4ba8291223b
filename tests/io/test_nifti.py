import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from scripts.geometry.displacement import to_displacement
from scripts.io.field_formats import read_transform
from scripts.io.nifti import save_image, save_itk_field
from scripts.runtime.errors import InputError
from scripts.spatial import warp

SHAPE = (12, 14, 10)
LPS = np.array([-1, -1, 1])


def rotation(degrees):
    """About all three axes in turn."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        result = turn @ result
    return result


def affine_from(directions, spacing=(1.1, 0.9, 1.6), origin=(-31.5, 12.25, 70.125)):
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing)
    affine[:3, 3] = origin
    return affine


PERMUTED = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]])  # axes anterior, inferior, right
GRIDS = {
    "RAS": affine_from(np.eye(3)),
    "LAS": affine_from(np.diag([-1, 1, 1])),
    "LPS": affine_from(np.diag([-1, -1, 1])),
    "permuted": affine_from(PERMUTED),
    "oblique": affine_from(rotation((20, -35, 50))),
    "oblique LAS": affine_from(rotation((12, 7, -15)) @ np.diag([-1, 1, 1])),
    "nearly upside down": affine_from(rotation((179.95, 3, 0.1))),  # where the quaternion loses its precision
}
SHEARED = affine_from(np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]]))

on_every_grid = pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)


def smooth_field(shape=SHAPE):
    """About 1.5 voxels, each channel its own analytic function, so that no two axes can be confused."""
    i, j, k = (2 * np.pi * x / n for x, n in zip(np.indices(shape), shape, strict=True))
    return np.stack(
        [1.5 * np.sin(i + 0.3) * np.cos(j), 1.2 * np.cos(j - 0.5) + 0.4 * np.sin(k), -np.sin(k) * np.cos(i)]
    ).astype(np.float32)


def in_world(field, affine):
    return to_displacement(np.moveaxis(field, 0, -1), affine, np.eye(4), affine)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "warp.nii.gz"


@on_every_grid
def test_round_trip(path, affine):
    displacement = in_world(smooth_field(), affine)
    save_itk_field(path, displacement, affine)
    loaded = read_transform(path)
    np.testing.assert_array_equal(loaded.displacement, displacement)
    assert loaded.displacement.dtype == np.float32
    np.testing.assert_allclose(loaded.affine, affine, atol=1e-5)


@on_every_grid
def test_header_is_what_itk_reads(path, affine):
    displacement = np.random.default_rng(0).random((*SHAPE, 3)).astype(np.float32)
    save_itk_field(path, displacement, affine)
    image = nib.load(path)
    assert image.shape == (*SHAPE, 1, 3)
    assert image.get_data_dtype() == np.float32
    assert int(image.header["intent_code"]) == 1007
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(np.asarray(image.dataobj)[:, :, :, 0], displacement * LPS)
    assert int(image.header["sform_code"]) == 1 and int(image.header["qform_code"]) == 1
    np.testing.assert_allclose(image.get_sform(), affine, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in GRIDS if name != "nearly upside down"])
def test_qform_agrees_with_sform(path, name):
    save_image(path, np.zeros(SHAPE, np.float32), GRIDS[name])
    np.testing.assert_allclose(nib.load(path).get_qform(), GRIDS[name], atol=1e-4)


def test_affine_rounded_by_a_header_still_gets_a_qform(path):
    for seed in range(20):
        angles = np.random.default_rng(seed).uniform(-30, 30, 3)
        save_image(path, np.zeros((2, 2, 2), np.float32), affine_from(rotation(angles)).astype(np.float32))
        assert int(nib.load(path).header["qform_code"]) == 1


def test_sheared_affine_stands_in_the_sform_alone(path):
    save_itk_field(path, np.zeros((*SHAPE, 3)), SHEARED)
    header = nib.load(path).header
    assert int(header["sform_code"]) == 1 and int(header["qform_code"]) == 0
    np.testing.assert_allclose(read_transform(path).affine, SHEARED, atol=1e-5)


@on_every_grid
def test_sitk_sends_points_where_we_do(path, affine):
    field = smooth_field()
    save_itk_field(path, in_world(field, affine), affine)
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    for index in [(3, 4, 5), (1, 12, 2), (10, 2, 8), (6, 7, 1)]:
        point = affine[:3, :3] @ index + affine[:3, 3]
        expected = affine[:3, :3] @ (index + field[(slice(None), *index)]) + affine[:3, 3]
        assert np.abs(np.array(transform.TransformPoint(point * LPS)) * LPS - expected).max() <= 1e-3


@on_every_grid
def test_sitk_moves_images_as_we_do(path, tmp_path, affine):
    field = smooth_field()
    moving = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    save_itk_field(path, in_world(field, affine), affine)
    save_image(tmp_path / "moving.nii.gz", moving, affine)

    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    image = sitk.ReadImage(str(tmp_path / "moving.nii.gz"))
    outside = -1.0
    resampled = sitk.GetArrayFromImage(sitk.Resample(image, image, transform, sitk.sitkLinear, outside))
    resampled = resampled.transpose(2, 1, 0)

    ours = warp(torch.from_numpy(moving)[None, None], torch.from_numpy(field)[None])[0, 0].numpy()
    sources = np.indices(SHAPE) + field
    inside = np.all([(s > 0.01) & (s < n - 1.01) for s, n in zip(sources, SHAPE, strict=True)], axis=0)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(ours[inside], resampled[inside], atol=1e-3)


@on_every_grid
def test_reads_what_sitk_writes(path, affine):
    displacement = in_world(smooth_field(), affine)
    image = sitk.GetImageFromArray((displacement * LPS).transpose(2, 1, 0, 3).astype(np.float32), isVector=True)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetOrigin(affine[:3, 3] * LPS)
    image.SetDirection((LPS[:, None] * affine[:3, :3] / spacing).ravel())
    sitk.WriteImage(image, str(path))

    loaded = read_transform(path)
    np.testing.assert_allclose(loaded.displacement, displacement, atol=1e-6)
    np.testing.assert_allclose(loaded.affine, affine, atol=1e-4)


def test_save_refuses_the_tensor_layout(path):
    with pytest.raises(ValueError, match=r"\(X, Y, Z, 3\)"):
        save_itk_field(path, np.zeros((3, 4, 5, 6)), np.eye(4))
    assert not path.exists()


ALL_TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64]


def limits(dtype):
    return np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)


@pytest.mark.parametrize("dtype", ALL_TYPES)
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5)])
def test_image_and_series_keep_values_type_and_affine(path, dtype, shape):
    values = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    values.flat[:2] = limits(dtype).min, limits(dtype).max
    save_image(path, values, GRIDS["oblique"], dtype)
    image = nib.load(path)
    assert image.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(image.dataobj), values)
    np.testing.assert_allclose(image.affine, GRIDS["oblique"], atol=1e-5)


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
def test_types_that_others_do_not_read_are_widened_or_narrowed_without_loss(path, given, largest, stored):
    values = np.array([0, largest], dtype=given).reshape(1, 1, 2)
    save_image(path, values, np.eye(4))
    image = nib.load(path)
    assert image.get_data_dtype() == stored
    assert np.asarray(image.dataobj).ravel().tolist() == [0, largest]


def test_itk_reads_the_uint32_that_we_write(path):
    labels = np.array([0, 2**31, 2**32 - 1], np.uint32).reshape(1, 1, 3)
    save_image(path, labels, np.eye(4))
    image = sitk.ReadImage(str(path))
    assert image.GetPixelID() == sitk.sitkUInt32
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).ravel(), labels.ravel())


def test_values_are_rounded_and_clipped_to_the_type(path):
    save_image(path, np.array([-7.6, -0.4, 0.6, 254.4, 300.0]).reshape(1, 1, 5), np.eye(4), np.uint8)
    assert np.asarray(nib.load(path).dataobj).ravel().tolist() == [0, 0, 1, 254, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_reader_gets_the_values_through_slope_and_intercept(path, dtype):
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
def test_unknown_ending_leaves_no_trace(tmp_path, name):
    with pytest.raises(InputError, match=r"ends in \.nii\.gz or \.nii"):
        save_image(tmp_path / name, np.zeros((2, 2, 2), np.float32), np.eye(4))
    assert os.listdir(tmp_path) == []


def test_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_itk_field(tmp_path / name / "warp.nii.gz", np.zeros((*SHAPE, 3)), np.eye(4))
    assert (tmp_path / "a/warp.nii.gz").read_bytes() == (tmp_path / "b/warp.nii.gz").read_bytes()
