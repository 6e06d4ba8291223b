# SPDX-License-Identifier: Apache-2.0
"""Fields that cannot be what they are read as: refused where nothing is left of the image, else warned of."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.geometry import Affine, Grid, Transform, as_field
from scripts.io import read_transform, write_transform
from scripts.io.itk import save_field_h5
from scripts.registration import convert
from scripts.runtime import InputError
from tests.io.case import voxel_positions
from tests.io.examples import GRID, write_nifti

CENTER = voxel_positions(GRID).reshape(-1, 3).mean(axis=0)


def about_the_center(matrix: np.ndarray, shift: tuple[float, ...] = (0, 0, 0)) -> Affine:
    return Affine(nib.affines.from_matvec(matrix, CENTER - matrix @ CENTER + shift))


def turn(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def stored(transform: Transform, kind: str, path: Path) -> Path:
    """A field with no intent, so that only its values tell what it is."""
    write_transform(path, transform, kind, GRID, GRID)
    image = nib.load(path)
    return write_nifti(path, np.asarray(image.dataobj))


@pytest.mark.parametrize("turned", [0, 30, 90])
def test_displacements_read_as_positions_are_refused(tmp_path: Path, turned: float) -> None:
    truth = about_the_center(turn(turned) @ np.diag([1.05, 0.95, 1.1]), (3, 0, -2))
    path = stored(truth, "dispvect", tmp_path / "warp.nii.gz")
    read_transform(path, "dispvect")
    with pytest.raises(InputError, match=r"warp\.nii\.gz: shrinks the whole fixed image to .*, as displacements"):
        read_transform(path, "absolute")


def test_field_of_itk_given_as_positions_is_refused_and_nothing_written(tmp_path: Path) -> None:
    write_transform(tmp_path / "warp.nii.gz", about_the_center(np.eye(3), (8, 5, 0)), "itk", GRID)
    with pytest.raises(InputError, match="read as positions"):
        convert(str(tmp_path / "warp.nii.gz"), str(tmp_path / "out.nii.gz"), "itk", "absolute")
    assert not (tmp_path / "out.nii.gz").exists()


def test_positions_in_ras_with_the_intent_of_itk_are_refused(tmp_path: Path) -> None:
    """Deformations of SPM that lost the name of their intent: x and y are taken twice, with both signs."""
    path = write_nifti(tmp_path / "y_t1.nii", voxel_positions(GRID).astype(np.float32)[:, :, :, None], 1007)
    with pytest.raises(InputError, match="shrinks the whole fixed image to 0 times"):
        read_transform(path)


def test_positions_read_as_displacements_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vectors = voxel_positions(GRID).astype(np.float32)[:, :, :, None]
    read_transform(write_nifti(tmp_path / "easyreg.nii.gz", vectors), "dispvect")
    assert caplog.messages == [
        f"{tmp_path}/easyreg.nii.gz: stretches the fixed image 2 to 2 times; are these displacements, or positions?"
    ]


@pytest.mark.parametrize("kind", ["itk", "h5", "learn2reg"])
@pytest.mark.parametrize(
    ("matrix", "shift", "said"),
    [
        (np.diag([-1, 1, 1]), (0, 0, 0), "mirrors the fixed image"),
        (0.3 * np.eye(3), (0, 0, 0), "stretches the fixed image 0.3 to 0.3 times"),
        (np.eye(3), (0, 160, 0), "longer than 160 mm"),
        (np.eye(3), (2000, -900, 0), "longer than 2193 mm"),
    ],
)
def test_odd_fields_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, matrix: np.ndarray, shift: tuple, said: str
) -> None:
    path = tmp_path / ("warp.h5" if kind == "h5" else "warp.nii.gz")
    write_transform(path, about_the_center(matrix, shift), kind, GRID, GRID)
    read_transform(path, kind, GRID, GRID)
    assert len(caplog.messages) == 1 and said in caplog.messages[0] and caplog.messages[0].startswith(f"{path}: ")


@pytest.mark.parametrize("scale", [0.5, 1.8])
@pytest.mark.parametrize("turned", [0, 90, 180])
def test_any_rotation_and_brains_of_another_size_pass(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, scale: float, turned: float
) -> None:
    truth = about_the_center(scale * turn(turned), (40, -60, 100))
    for kind in ("itk", "dispvect", "learn2reg", "absolute"):
        write_transform(tmp_path / "warp.nii.gz", truth, kind, GRID, GRID)
        read_transform(tmp_path / "warp.nii.gz", kind, GRID, GRID)
    assert caplog.messages == []


def test_field_inside_a_composite_is_looked_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_field_h5(tmp_path / "warp.h5", as_field(about_the_center(np.zeros((3, 3))), GRID))
    with pytest.raises(InputError, match=r"warp\.h5: shrinks the whole fixed image"):
        read_transform(tmp_path / "warp.h5")


def test_slab_of_few_voxels_passes(tmp_path: Path) -> None:
    """Along two voxels, noise of the vectors decides what the whole is mapped to."""
    slab = Grid((9, 9, 2), np.eye(4))
    vectors = np.zeros((9, 9, 2, 1, 3), np.float32)
    vectors[:, :, 1, 0, 2] = -1  # both planes end in one
    nib.Nifti1Image(vectors, slab.affine).to_filename(tmp_path / "warp.nii.gz")
    assert read_transform(tmp_path / "warp.nii.gz", "dispvect").grid.shape == slab.shape
