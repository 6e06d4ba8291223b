# SPDX-License-Identifier: Apache-2.0
"""Fields lie where their headers say, by the same policy as scans; those in voxels lie on the fixed image's grid."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.geometry import Affine, Field, Grid
from scripts.io import read_grid, read_transform, save_image, write_transform
from scripts.runtime import InputError

GRID = Grid((6, 7, 8), np.array([[-2.0, 0, 0, 5], [0, 3, 0, -6], [0, 0, 1.5, 7], [0, 0, 0, 1]]))
OWN_GRID = ("itk", "dispvect", "fsl", "absolute")
FIXED_GRID = ("learn2reg", "monai")
SHIFT = Affine(nib.affines.from_matvec(np.eye(3), [1.0, -2.0, 3.0]))

Change = Callable[[nib.Nifti1Header], None]


def without_forms(header: nib.Nifti1Header) -> None:
    header["sform_code"] = header["qform_code"] = 0


def in_meters(header: nib.Nifti1Header) -> None:
    header.set_xyzt_units("meter")
    scale(header, 0.001)


def in_micrometers(header: nib.Nifti1Header) -> None:
    header.set_xyzt_units("micron")
    scale(header, 1000)


def scale(header: nib.Nifti1Header, factor: float) -> None:
    affine = np.diag([factor, factor, factor, 1]) @ GRID.affine
    header.set_qform(affine, 1)
    header.set_sform(affine, 1)


def contradictory(header: nib.Nifti1Header) -> None:
    header.set_qform(nib.affines.from_matvec(np.eye(3), [0, 30, 40]) @ GRID.affine, 1)


def without_sform(header: nib.Nifti1Header) -> None:
    header["sform_code"] = 0


def singular(header: nib.Nifti1Header) -> None:
    header["srow_x"] = 0


def implausible(header: nib.Nifti1Header) -> None:
    scale(header, 1000)


@pytest.fixture
def field(tmp_path: Path) -> Callable[[str, Change], Path]:
    """`field("itk", change)`: a field of a shift with a changed header."""

    def write(kind: str, change: Change) -> Path:
        path = tmp_path / "warp.nii"
        write_transform(path.with_suffix(".nii.gz"), SHIFT, kind, GRID, GRID)
        image = nib.load(path.with_suffix(".nii.gz"))
        content = np.asarray(image.dataobj)
        header = image.header.copy()
        change(header)
        header.set_data_offset(352)
        path.write_bytes(header.binaryblock + bytes(4) + content.tobytes(order="F"))
        return path

    return write


def read(path: Path, kind: str) -> Field:
    found = read_transform(path, kind, GRID, GRID)
    assert isinstance(found, Field)
    return found


@pytest.mark.parametrize("kind", OWN_GRID)
@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (in_meters, "the header gives positions in meters; converted to mm"),
        (in_micrometers, "the header gives positions in micrometers; converted to mm"),
        (contradictory, "sform and qform differ by up to 50 mm and 0.0°; the sform is used"),
        (without_sform, ""),
    ],
)
def test_field_lies_where_an_image_of_its_header_would(
    field: Callable, caplog: pytest.LogCaptureFixture, kind: str, change: Change, warning: str
) -> None:
    path = field(kind, change)
    found = read(path, kind)
    np.testing.assert_allclose(found.affine, GRID.affine, rtol=1e-6)
    np.testing.assert_allclose(found.displacement, np.broadcast_to([1, -2, 3], (*GRID.shape, 3)), atol=1e-4)
    assert caplog.messages == ([f"{path}: {warning}"] if warning else [])


@pytest.mark.parametrize("kind", OWN_GRID)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_forms, "the header has no sform and no qform, so left and right are unknown; give --assume_ras"),
        (singular, "the header's affine is singular or not finite; repair sform and qform"),
        (implausible, "voxels of 2000x3000x1500 mm are not those of a brain scan"),
    ],
)
def test_field_of_unknown_place_is_refused(field: Callable, kind: str, change: Change, said: str) -> None:
    path = field(kind, change)
    with pytest.raises(InputError) as caught:
        read(path, kind)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("kind", FIXED_GRID)
@pytest.mark.parametrize("change", [without_forms, in_meters, contradictory, singular, implausible])
def test_field_in_voxels_lies_on_the_grid_of_the_fixed_image(
    field: Callable, caplog: pytest.LogCaptureFixture, kind: str, change: Change
) -> None:
    found = read(field(kind, change), kind)
    np.testing.assert_array_equal(found.affine, GRID.affine)
    np.testing.assert_allclose(found.displacement, np.broadcast_to([1, -2, 3], (*GRID.shape, 3)), atol=1e-5)
    assert caplog.messages == []


def test_grid_of_a_reference_is_that_of_its_header(tmp_path: Path) -> None:
    save_image(tmp_path / "series.nii.gz", np.zeros((*GRID.shape, 2), np.int16), GRID.affine)
    grid = read_grid(tmp_path / "series.nii.gz")
    assert grid.shape == GRID.shape
    np.testing.assert_allclose(grid.affine, GRID.affine)


def test_reference_without_orientation_needs_the_assumption(save: Callable[..., Path]) -> None:
    path = save("reference.nii", np.zeros((6, 7, 8), np.int16), sform_code=0, qform_code=0)
    with pytest.raises(InputError, match="unknown; give --assume_ras"):
        read_grid(path)
    assert read_grid(path, assume_ras=True).orientation == "RAS"


@pytest.mark.parametrize("kind", OWN_GRID)
def test_field_without_orientation_lies_where_the_assumption_says(field: Callable, kind: str) -> None:
    """At the center of the world, along its axes; vectors in mm keep their meaning."""
    moving = GRID if kind == "fsl" else None
    found = read_transform(field(kind, without_forms), kind, moving=moving, assume_ras=True)
    centered = np.diag([2.0, 3, 1.5, 1])
    centered[:3, 3] = [-5, -9, -5.25]
    np.testing.assert_allclose(found.affine, centered)
    if kind in ("itk", "dispvect"):
        np.testing.assert_allclose(found.displacement, np.broadcast_to([1, -2, 3], (*GRID.shape, 3)), atol=1e-5)
