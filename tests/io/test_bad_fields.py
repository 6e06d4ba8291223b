# SPDX-License-Identifier: Apache-2.0
"""Fields that are damaged, of another format or for another image are refused in one line."""

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.geometry import Affine, Grid
from scripts.io import read_transform, save_affine, save_composite, save_image, write_transform
from scripts.runtime import InputError
from tests.io.examples import GRID, NIFTI_FORMATS, file_name, random_field, write_nifti


@pytest.mark.parametrize("kind", NIFTI_FORMATS)
def test_damaged_fields_are_refused(tmp_path: Path, kind: str) -> None:
    good = tmp_path / "good.nii.gz"
    write_transform(good, random_field(), kind, GRID, GRID)
    content = good.read_bytes()
    bad = tmp_path / "bad.nii.gz"
    zeros = gzip.compress(gzip.decompress(content)[:-40])
    wrong_sum = content[:-8] + bytes(8)
    for damaged in (content[:-20], content[: len(content) // 2], zeros, wrong_sum, b"<html>", b""):
        bad.write_bytes(damaged)
        with pytest.raises(InputError, match=r"bad\.nii\.gz"):
            read_transform(bad, kind, GRID, GRID)


@pytest.mark.parametrize("kind", NIFTI_FORMATS)
@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_fields_with_holes_are_refused(tmp_path: Path, kind: str, hole: float) -> None:
    path = tmp_path / "warp.nii.gz"
    write_transform(path, random_field(), kind, GRID, GRID)
    image = nib.load(path)
    vectors = np.asarray(image.dataobj).copy()
    vectors[2, 3, 4] = hole
    nib.Nifti1Image(vectors, image.affine, image.header).to_filename(path)
    with pytest.raises(InputError, match=r"warp\.nii\.gz.* 3 values"):
        read_transform(path, kind, GRID, GRID)


@pytest.mark.parametrize("kind", NIFTI_FORMATS)
@pytest.mark.parametrize("shape", [(6, 7, 8), (6, 7, 8, 2), (6, 7, 8, 3, 3), (6, 7, 8, 1, 2), (3, 6, 7, 9)])
def test_other_shapes_are_refused(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    path = write_nifti(tmp_path / "warp.nii.gz", np.zeros(shape, np.float32))
    with pytest.raises(InputError, match=r"warp\.nii\.gz.*shape"):
        read_transform(path, kind, GRID, GRID)


@pytest.mark.parametrize("kind", ["learn2reg", "monai"])
def test_voxel_field_of_another_image_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "warp.nii.gz"
    write_transform(path, random_field(), kind, GRID, GRID)
    with pytest.raises(InputError, match=r"fit"):
        read_transform(path, kind, Grid((6, 8, 7), GRID.affine), GRID)


@pytest.mark.parametrize(("said", "intent"), [("itk", 1006), ("dispvect", 1007), ("learn2reg", 2006), ("monai", 1007)])
def test_format_that_the_header_contradicts_is_refused(tmp_path: Path, said: str, intent: int) -> None:
    path = write_nifti(tmp_path / "warp.nii.gz", np.zeros((6, 7, 8, 1, 3), np.float32), intent)
    with pytest.raises(InputError, match=rf"intent {intent}.*not {said}"):
        read_transform(path, said, GRID, GRID)


def test_fsl_warp_of_positions_is_refused(tmp_path: Path) -> None:
    """As `convertwarp --absout` makes it; the header does not say so."""
    positions = np.moveaxis(np.indices(GRID.shape), 0, -1) * np.array([2, 3, 1.5])
    path = write_nifti(tmp_path / "warp.nii.gz", positions.astype(np.float32), 2006)
    with pytest.raises(InputError, match="positions"):
        read_transform(path, moving=GRID)


@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_fsl_warp_of_any_rotation_is_taken_as_relative(tmp_path: Path, degrees: int) -> None:
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    write_transform(tmp_path / "warp.nii.gz", Affine(turn), "fsl", GRID, GRID)
    back = read_transform(tmp_path / "warp.nii.gz", moving=GRID)
    np.testing.assert_allclose(back(np.array([[-4.0, 9, 6]])), Affine(turn)(np.array([[-4.0, 9, 6]])), atol=1e-4)


@pytest.mark.parametrize("kind", ["fsl", "learn2reg", "monai"])
def test_missing_moving_grid_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "warp.nii.gz"
    with pytest.raises(InputError, match=f"{kind} depend on the moving"):
        write_transform(path, random_field(), kind, GRID)
    assert not path.exists()
    write_transform(path, random_field(), kind, GRID, GRID)
    with pytest.raises(InputError, match=f"{kind} depend on the moving"):
        read_transform(path, kind, GRID)


@pytest.mark.parametrize("kind", ["learn2reg", "monai"])
def test_missing_fixed_grid_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "warp.nii.gz"
    write_transform(path, random_field(), kind, GRID, GRID)
    with pytest.raises(InputError, match=f"{kind} depend on the fixed"):
        read_transform(path, kind, moving=GRID)


@pytest.mark.parametrize("kind", ["itk", "dispvect", "h5"])
def test_sheared_grid_is_refused_by_formats_of_itk(tmp_path: Path, kind: str) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(InputError, match="shear"):
        write_transform(tmp_path / file_name(kind), Affine(np.eye(4)), kind, Grid((5, 5, 5), sheared))
    assert os.listdir(tmp_path) == []


def test_names_and_formats_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for name, kind in [("a.nii", "learn2reg"), ("a.mha", "itk"), ("a.nii.gz", "h5"), ("a.nii.gz", "warp")]:
        with pytest.raises(InputError):
            write_transform(tmp_path / name, random_field(), kind, GRID, GRID)
    with pytest.raises(InputError, match=r"\.mat or \.tfm"):
        save_affine(tmp_path / "affine.nii", np.eye(4))
    with pytest.raises(InputError, match=r"\.h5"):
        save_composite(tmp_path / "transform.tfm", np.eye(4), random_field())
    assert os.listdir(tmp_path) == []
    save_affine(tmp_path / "affine.mat", np.eye(4))
    save_image(tmp_path / "image.nii", np.ones((4, 4, 4)), np.eye(4))
    for name, kind in [("affine.mat", "fsl"), ("image.nii", "h5"), ("image.nii", "warp"), ("image.nii", None)]:
        with pytest.raises(InputError):
            read_transform(tmp_path / name, kind)


def test_missing_file_and_missing_folder_are_input_errors(tmp_path: Path) -> None:
    for name in ("none.nii.gz", "none.h5", "none.mat"):
        with pytest.raises(InputError, match="no such file"):
            read_transform(tmp_path / name)
    for kind in ("itk", "h5"):
        with pytest.raises(InputError, match="cannot be written"):
            write_transform(tmp_path / "no folder" / file_name(kind), random_field(), kind, GRID)
