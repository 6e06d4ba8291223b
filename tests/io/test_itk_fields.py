# SPDX-License-Identifier: Apache-2.0
"""Displacement fields as ITK vector NIfTI: what ITK does with ours, and what we read of its own."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from scripts.geometry import to_displacement
from scripts.io import read_transform, save_image, save_itk_field
from scripts.spatial import warp
from tests.io.case import LPS
from tests.io.examples import AFFINES, SHEARED

SHAPE = (12, 14, 10)

on_every_grid = pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)


def smooth_field() -> np.ndarray:
    """About 1.5 voxels, each channel its own analytic function, so that no two axes can be confused."""
    i, j, k = (2 * np.pi * x / n for x, n in zip(np.indices(SHAPE), SHAPE, strict=True))
    return np.stack(
        [1.5 * np.sin(i + 0.3) * np.cos(j), 1.2 * np.cos(j - 0.5) + 0.4 * np.sin(k), -np.sin(k) * np.cos(i)]
    ).astype(np.float32)


def in_world(field: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return to_displacement(np.moveaxis(field, 0, -1), affine, np.eye(4), affine)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warp.nii.gz"


@on_every_grid
def test_round_trip(path: Path, affine: np.ndarray) -> None:
    displacement = in_world(smooth_field(), affine)
    save_itk_field(path, displacement, affine)
    loaded = read_transform(path)
    np.testing.assert_array_equal(loaded.displacement, displacement)
    assert loaded.displacement.dtype == np.float32
    np.testing.assert_allclose(loaded.affine, affine, atol=1e-5)


@on_every_grid
def test_header_is_what_itk_reads(path: Path, affine: np.ndarray) -> None:
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


def test_sheared_affine_stands_in_the_sform_alone(path: Path) -> None:
    save_itk_field(path, np.zeros((*SHAPE, 3)), SHEARED)
    header = nib.load(path).header
    assert int(header["sform_code"]) == 1 and int(header["qform_code"]) == 0
    np.testing.assert_allclose(read_transform(path).affine, SHEARED, atol=1e-5)


@on_every_grid
def test_sitk_sends_points_where_we_do(path: Path, affine: np.ndarray) -> None:
    field = smooth_field()
    save_itk_field(path, in_world(field, affine), affine)
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    for index in [(3, 4, 5), (1, 12, 2), (10, 2, 8), (6, 7, 1)]:
        point = affine[:3, :3] @ index + affine[:3, 3]
        expected = affine[:3, :3] @ (index + field[(slice(None), *index)]) + affine[:3, 3]
        assert np.abs(np.array(transform.TransformPoint(point * LPS)) * LPS - expected).max() <= 1e-3


@on_every_grid
def test_sitk_moves_images_as_we_do(path: Path, tmp_path: Path, affine: np.ndarray) -> None:
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
def test_reads_what_sitk_writes(path: Path, affine: np.ndarray) -> None:
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


def test_save_refuses_the_tensor_layout(path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(X, Y, Z, 3\)"):
        save_itk_field(path, np.zeros((3, 4, 5, 6)), np.eye(4))
    assert not path.exists()


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_itk_field(tmp_path / name / "warp.nii.gz", np.zeros((*SHAPE, 3)), np.eye(4))
    assert (tmp_path / "a/warp.nii.gz").read_bytes() == (tmp_path / "b/warp.nii.gz").read_bytes()
