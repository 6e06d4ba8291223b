# SPDX-License-Identifier: Apache-2.0
"""Transforms in other formats, and their Jacobians."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Affine, as_field
from scripts.io.field_formats import read_transform
from scripts.io.nifti import save_itk_field
from scripts.registration.reuse import convert, jacobian
from scripts.runtime.errors import InputError
from tests.registration.examples import MATRIX, REFERENCE_AFFINE, REFERENCE_SHAPE, SHAPE, affine_file, save, wavy_field


@pytest.mark.parametrize("kind", ["dispvect", "h5", "fsl", "learn2reg", "monai", "absolute"])
def test_field_comes_back_from_every_format(folder: Path, kind: str) -> None:
    moving = save(folder / "moving.nii.gz", np.zeros(SHAPE, np.uint8))
    fixed = str(folder / "reference.nii.gz")
    there = str(folder / f"there{'.h5' if kind == 'h5' else '.nii.gz'}")
    convert(str(folder / "warp.nii.gz"), there, to=kind, moving=moving)
    convert(there, str(folder / "back.nii.gz"), to="itk", source=kind, fixed=fixed, moving=moving)
    back = read_transform(folder / "back.nii.gz")
    assert np.allclose(back.affine, REFERENCE_AFFINE, atol=1e-5)
    assert np.abs(back.displacement - wavy_field().displacement).max() < 1e-3


def test_affine_becomes_a_field_only_on_a_given_grid(folder: Path) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    with pytest.raises(InputError, match=r"affine\.mat: has no grid of its own; give --fixed"):
        convert(str(folder / "affine.mat"), str(folder / "field.nii.gz"), to="itk")
    convert(str(folder / "affine.mat"), str(folder / "field.nii.gz"), to="itk", fixed=str(folder / "reference.nii.gz"))
    expected = as_field(Affine(MATRIX), Grid(REFERENCE_SHAPE, REFERENCE_AFFINE)).displacement
    assert np.abs(read_transform(folder / "field.nii.gz").displacement - expected).max() < 1e-4


def test_convert_does_not_overwrite(folder: Path) -> None:
    before = (folder / "warp.nii.gz").read_bytes()
    with pytest.raises(InputError, match="overwrite"):
        convert(str(folder / "warp.nii.gz"), str(folder / "warp.nii.gz"), to="dispvect")
    assert (folder / "warp.nii.gz").read_bytes() == before


def test_jacobian_of_an_affine_is_its_determinant_everywhere(folder: Path) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    with pytest.raises(InputError, match="--reference"):
        jacobian(str(folder / "affine.mat"), str(folder / "j.nii.gz"))
    jacobian(str(folder / "affine.mat"), str(folder / "j.nii.gz"), str(folder / "reference.nii.gz"))
    out = nib.load(folder / "j.nii.gz")
    assert out.get_data_dtype() == np.float32
    assert np.allclose(out.affine, REFERENCE_AFFINE, atol=1e-5)
    assert np.abs(out.get_fdata() - np.linalg.det(MATRIX[:3, :3])).max() < 1e-4


def test_jacobian_of_a_field_is_on_its_own_grid(folder: Path, capsys: pytest.CaptureFixture) -> None:
    # u_x = 0.3 x in mm: dT/dx has the determinant 1.3, however the grid is turned.
    voxels = np.stack(np.meshgrid(*map(np.arange, REFERENCE_SHAPE), indexing="ij"), axis=-1)
    x = voxels @ REFERENCE_AFFINE[0, :3] + REFERENCE_AFFINE[0, 3]
    displacement = np.stack([0.3 * x, 0 * x, 0 * x], axis=-1).astype(np.float32)
    save_itk_field(folder / "stretch.nii.gz", displacement, REFERENCE_AFFINE)
    jacobian(str(folder / "stretch.nii.gz"), str(folder / "j.nii.gz"))
    assert np.abs(nib.load(folder / "j.nii.gz").get_fdata() - 1.3).max() < 1e-4
    assert "1.300 to 1.300, 0 % of the voxels are folded" in capsys.readouterr().out


def test_grid_of_several_transforms_is_that_of_the_first_to_be_applied(folder: Path) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    affine, warp = str(folder / "affine.mat"), str(folder / "warp.nii.gz")
    jacobian([warp, affine], str(folder / "j.nii.gz"))
    assert np.allclose(nib.load(folder / "j.nii.gz").affine, REFERENCE_AFFINE, atol=1e-5)
    with pytest.raises(InputError, match=r"affine\.mat: .*--reference"):
        jacobian([affine, warp], str(folder / "k.nii.gz"))
