# SPDX-License-Identifier: Apache-2.0
"""Fields in the formats of other tools: what is in the file, and what comes back."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImage

from scripts.geometry import Affine, Chain, Field, Grid, Transform
from scripts.io import read_transform, write_transform
from scripts.io.field_formats import FIELD_FORMATS
from scripts.runtime import InputError
from tests.io.case import voxel_positions
from tests.io.examples import GRID, NIFTI_FORMATS, file_name, random_field, write_nifti


def voxel_vectors(path: Path) -> np.ndarray:
    return np.squeeze(np.asarray(nib.load(path).dataobj, dtype=np.float64))


# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FIELD_FORMATS)
def test_what_is_written_is_read(
    tmp_path: Path, kind: str, truth: Transform, field: Field, fixed: Grid, moving: Grid, voxel_points: Callable
) -> None:
    path = tmp_path / file_name(kind)
    write_transform(path, truth, kind, fixed, moving)
    back = read_transform(path, kind, fixed, moving)
    _, points = voxel_points(0)
    assert np.abs(back(points) - truth(points)).max() < 1e-4
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", ["itk", "dispvect", "h5", "fsl"])
def test_format_is_told_from_the_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / file_name(kind)
    field = random_field()
    write_transform(path, field, kind, GRID, GRID)
    back = read_transform(path, moving=GRID)
    back = back.transforms[0] if isinstance(back, Chain) else back
    np.testing.assert_allclose(back.displacement, field.displacement, atol=1e-5)


@pytest.mark.parametrize("kind", ["learn2reg", "monai", "absolute"])
def test_format_that_the_file_does_not_tell_is_asked_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "warp.nii.gz"
    write_transform(path, random_field(), kind, GRID, GRID)
    with pytest.raises(
        InputError, match=r"warp\.nii\.gz.*intent 0.*itk, dispvect, h5, fsl, learn2reg, monai, absolute"
    ):
        read_transform(path, fixed=GRID, moving=GRID)


def test_field_on_its_own_grid_is_written_as_it_is(tmp_path: Path) -> None:
    field = random_field()
    write_transform(tmp_path / "warp.nii.gz", field, "dispvect", GRID)
    np.testing.assert_allclose(voxel_vectors(tmp_path / "warp.nii.gz"), field.displacement, atol=1e-5)


# --- what is in the file, by FORMATS.md -------------------------------------------------------------------------------


def test_layouts_and_intents(tmp_path: Path) -> None:
    expected = {
        "itk": ((6, 7, 8, 1, 3), 1007),
        "dispvect": ((6, 7, 8, 1, 3), 1006),
        "fsl": ((6, 7, 8, 3), 2006),
        "learn2reg": ((6, 7, 8, 3), 0),
        "monai": ((6, 7, 8, 3), 0),
        "absolute": ((6, 7, 8, 3), 0),
    }
    for kind in NIFTI_FORMATS:
        path = tmp_path / f"{kind}.nii.gz"
        write_transform(path, random_field(), kind, GRID, GRID)
        image = nib.load(path)
        assert (image.shape, int(image.header["intent_code"])) == expected[kind]
        assert image.get_data_dtype() == np.float32
        np.testing.assert_allclose(image.affine, GRID.affine)


def test_voxel_formats_hold_moving_minus_fixed_voxel(
    tmp_path: Path, truth: Transform, fixed: Grid, moving: Grid, voxel_points: Callable
) -> None:
    index, points = voxel_points(0)
    expected = Affine(np.linalg.inv(moving.affine))(truth(points)) - index
    for kind in ("learn2reg", "monai"):
        write_transform(tmp_path / f"{kind}.nii.gz", truth, kind, fixed, moving)
        np.testing.assert_allclose(voxel_vectors(tmp_path / f"{kind}.nii.gz")[tuple(index.T)], expected, atol=1e-4)


def test_absolute_holds_the_moving_point(tmp_path: Path, truth: Transform, fixed: Grid, voxel_points: Callable) -> None:
    index, points = voxel_points(0)
    write_transform(tmp_path / "warp.nii.gz", truth, "absolute", fixed)
    np.testing.assert_allclose(voxel_vectors(tmp_path / "warp.nii.gz")[tuple(index.T)], truth(points), atol=1e-4)


def test_monai_field_is_what_save_image_writes(tmp_path: Path) -> None:
    tensor = torch.randn(3, *GRID.shape)
    meta = {"filename_or_obj": "x.nii"}
    image = MetaTensor(tensor, affine=torch.from_numpy(GRID.affine), meta=meta)
    SaveImage(tmp_path, "field", ".nii", resample=False, separate_folder=False, print_log=False)(image)
    by_monai = read_transform(tmp_path / "x_field.nii", "monai", GRID, GRID)

    write_transform(tmp_path / "ours.nii", by_monai, "monai", GRID, GRID)
    ours, theirs = nib.load(tmp_path / "ours.nii"), nib.load(tmp_path / "x_field.nii")
    assert ours.shape == theirs.shape and ours.get_data_dtype() == theirs.get_data_dtype()
    assert int(ours.header["intent_code"]) == int(theirs.header["intent_code"])
    np.testing.assert_allclose(np.asarray(ours.dataobj), np.moveaxis(tensor.numpy(), 0, -1), atol=1e-5)


def test_learn2reg_takes_the_channel_first_or_last(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(*GRID.shape, 3)).astype(np.float32)
    last = write_nifti(tmp_path / "last.nii.gz", vectors)
    first = write_nifti(tmp_path / "first.nii.gz", np.moveaxis(vectors, -1, 0))
    fields = [read_transform(path, "learn2reg", GRID, GRID).displacement for path in (last, first)]
    np.testing.assert_array_equal(*fields)
    np.testing.assert_allclose(fields[0], vectors * np.diag(GRID.affine)[:3], rtol=1e-6)


def test_absolute_reads_both_layouts(tmp_path: Path) -> None:
    vectors = (random_field().displacement + voxel_positions(GRID)).astype(np.float32)
    easyreg = write_nifti(tmp_path / "easyreg.nii.gz", vectors)
    spm = write_nifti(tmp_path / "y_spm.nii", vectors[:, :, :, None], 1007, "Mapping")
    fields = [read_transform(path, "absolute").displacement for path in (easyreg, spm)]
    np.testing.assert_array_equal(*fields)
