# SPDX-License-Identifier: Apache-2.0
"""Where voxels lie: which form of the header counts, and what is said about it."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from scripts.geometry.grid import Grid
from scripts.io.headers import NO_ORIENTATION, find_space
from scripts.runtime.errors import InputError

ARRAY = np.zeros((5, 6, 7), np.uint8)
OBLIQUE = nib.affines.from_matvec(Rotation.from_euler("xyz", [10, -20, 30], True).as_matrix() * [1, 2, 3], [4, 5, 6])
Forms = Callable[..., Path]


@pytest.fixture
def forms(tmp_path: Path) -> Forms:
    """A file with these sform and qform, each an affine and a code."""

    def write(sform: tuple | None = None, qform: tuple | None = None, unit: str = "mm") -> Path:
        image = nib.Nifti1Image(ARRAY, None)
        image.header.set_zooms(nib.affines.voxel_sizes(sform[0]) if sform else (1.0, 2.0, 3.0))
        image.header.set_xyzt_units(unit)
        if sform:
            image.header.set_sform(sform[0])
            image.header["sform_code"] = sform[1]
        if qform:
            image.header.set_qform(*qform)
        nib.save(image, tmp_path / "scan.nii")
        return tmp_path / "scan.nii"

    return write


def space_of(path: Path, assume_ras: bool = False) -> tuple:
    return find_space(nib.load(path), path, assume_ras)


def shifted(*millimeters: float) -> np.ndarray:
    return nib.affines.from_matvec(np.eye(3), millimeters) @ OBLIQUE


def turned(degrees: float) -> np.ndarray:
    return nib.affines.from_matvec(Rotation.from_euler("z", degrees, True).as_matrix()) @ OBLIQUE


# --- NIfTI ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sform", "qform", "source"),
    [
        ((OBLIQUE, 2), None, "sform (aligned)"),
        (None, (OBLIQUE, 1), "qform (scanner)"),
        ((OBLIQUE, 4), (OBLIQUE, 1), "sform (mni)"),
        ((OBLIQUE, 5), (shifted(9, 9, 9), 0), "sform (template)"),
    ],
)
def test_sform_counts_before_qform_and_each_alone(
    forms: Forms, sform: tuple | None, qform: tuple | None, source: str
) -> None:
    space = space_of(forms(sform, qform))
    assert (space.source, space.warnings) == (source, ())
    assert space.grid.affine.dtype == np.float64
    np.testing.assert_allclose(space.grid.affine, OBLIQUE, atol=1e-5)


def test_sform_is_used_where_the_qform_differs_and_the_difference_is_told(forms: Forms) -> None:
    space = space_of(forms((OBLIQUE, 4), (shifted(0, 3, 4), 1)))
    np.testing.assert_allclose(space.grid.affine, OBLIQUE, atol=1e-5)
    assert space.warnings == ("sform and qform differ by up to 5 mm and 0.0°; the sform is used",)
    (warning,) = space_of(forms((OBLIQUE, 4), (turned(25), 1))).warnings
    assert "and 25.0°;" in warning
    (warning,) = space_of(forms((OBLIQUE, 1), (OBLIQUE @ np.diag([-1, 1, 1, 1]), 1))).warnings
    assert "by a mirroring" in warning
    assert space_of(forms((OBLIQUE, 4), (shifted(0.05, 0, 0), 1))).warnings == ()


@pytest.mark.parametrize(("unit", "factor"), [("meter", 0.001), ("micron", 1000.0)])
def test_difference_of_the_forms_is_told_in_mm(forms: Forms, unit: str, factor: float) -> None:
    scale = np.diag([factor, factor, factor, 1])
    differ, _ = space_of(forms((scale @ OBLIQUE, 1), (scale @ shifted(0, 3, 4), 1), unit)).warnings
    assert differ.startswith("sform and qform differ by up to 5 mm and")


def test_header_without_forms_is_refused_unless_it_is_ras(forms: Forms) -> None:
    path = forms()
    with pytest.raises(InputError, match=r"no sform and no qform.*--assume_ras") as caught:
        space_of(path)
    assert str(caught.value).startswith(f"{path}: ")
    space = space_of(path, assume_ras=True)
    np.testing.assert_allclose(space.grid.affine, [[1, 0, 0, -2], [0, 2, 0, -5], [0, 0, 3, -9], [0, 0, 0, 1]])
    assert space.source == "assumed RAS"


def test_assumption_does_not_count_where_the_header_knows(forms: Forms) -> None:
    np.testing.assert_allclose(space_of(forms((OBLIQUE, 1)), assume_ras=True).grid.affine, OBLIQUE, atol=1e-5)


def test_shear_is_kept_and_its_angle_told(forms: Forms) -> None:
    sheared = OBLIQUE @ nib.affines.from_matvec([[1, np.tan(np.radians(3)) * 2, 0], [0, 1, 0], [0, 0, 1]])
    space = space_of(forms((sheared, 1)))
    np.testing.assert_allclose(space.grid.affine, sheared, atol=1e-5)
    (warning,) = space.warnings
    assert "sheared by 3°" in warning
    assert "ITK" in warning


@pytest.mark.parametrize(("shear", "warned"), [(1e-4, False), (3e-4, True)])
def test_shear_is_told_where_itk_refuses_it(forms: Forms, shear: float, warned: bool) -> None:
    itk = pytest.importorskip("SimpleITK")
    path = forms((nib.affines.from_matvec([[1, shear, 0], [0, 1, 0], [0, 0, 1]]), 1))
    assert bool(space_of(path).warnings) == warned
    if warned:
        with pytest.raises(RuntimeError, match="orthonormal"):
            itk.ReadImage(str(path))
    else:
        itk.ReadImage(str(path))


@pytest.mark.parametrize(("unit", "factor", "name"), [("meter", 1000, "meters"), ("micron", 0.001, "micrometers")])
def test_other_units_are_converted_as_itk_does(forms: Forms, unit: str, factor: float, name: str) -> None:
    itk = pytest.importorskip("SimpleITK")
    affine = np.diag([1, 2, 3, factor]) / factor
    affine[:3, 3] = np.array([4, 5, 6]) / factor
    path = forms((affine, 1), unit=unit)
    space = space_of(path)
    assert space.warnings == (f"the header gives positions in {name}; converted to mm",)
    np.testing.assert_allclose(space.grid.affine, [[1, 0, 0, 4], [0, 2, 0, 5], [0, 0, 3, 6], [0, 0, 0, 1]], rtol=1e-5)
    if itk.__version__.startswith("2.3."):
        pytest.skip("the ITK of SimpleITK 2.3 does not convert units")
    image = itk.ReadImage(str(path))
    np.testing.assert_allclose(space.grid.affine[:3, 3] * [-1, -1, 1], image.GetOrigin(), rtol=1e-5)
    np.testing.assert_allclose(nib.affines.voxel_sizes(space.grid.affine), image.GetSpacing(), rtol=1e-5)


@pytest.mark.parametrize("scale", [0.001, 1000.0])
def test_implausible_voxels_are_refused(forms: Forms, scale: float) -> None:
    path = forms((np.diag([scale, scale, scale, 1]), 1))
    with pytest.raises(InputError, match="are they micrometers or meters") as caught:
        space_of(path)
    assert f"{scale:g}x{scale:g}x{scale:g} mm" in str(caught.value)


@pytest.mark.parametrize(
    "matrix",
    [np.diag([1, 1, 0]), np.zeros((3, 3)), [[1, 0, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 1], [0, 1, 1], [0, 0, 1e-5]]],
)
def test_singular_affine_is_refused(forms: Forms, matrix: list) -> None:
    with pytest.raises(InputError, match="singular"):
        space_of(forms((nib.affines.from_matvec(np.asarray(matrix, float)), 1)))


def test_affine_that_is_not_finite_is_refused(save: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="not finite"):
        space_of(save("scan.nii", ARRAY, srow_x=[np.nan, 0, 0, 0]))


def test_invalid_qform_beside_an_sform_is_told(save: Callable[..., Path], las: np.ndarray) -> None:
    path = save("scan.nii", ARRAY, qform_code=1, quatern_b=2.0, quatern_c=2.0, quatern_d=2.0)
    space = space_of(path)
    np.testing.assert_allclose(space.grid.affine, las, atol=1e-6)
    assert space.warnings == ("the qform is not valid; the sform is used",)


# --- others ---------------------------------------------------------------------------------------------------------


def test_mgh_says_where_it_lies(save: Callable[..., Path], las: np.ndarray) -> None:
    space = space_of(save("scan.mgz", ARRAY))
    np.testing.assert_allclose(space.grid.affine, las, atol=1e-5)
    assert (space.source, space.warnings) == ("MGH header", ())


def test_analyze_is_taken_with_a_warning_or_as_ras(tmp_path: Path) -> None:
    path = tmp_path / "scan.img"
    image = nib.AnalyzeImage(ARRAY, None)
    image.header.set_zooms((1.0, 2.0, 3.0))
    nib.save(image, path)
    space = space_of(path)
    assert Grid((1, 1, 1), space.grid.affine).orientation == "LAS"
    assert space.source == "Analyze, taken as LAS"
    (warning,) = space.warnings
    assert "left and right may be swapped" in warning
    space = space_of(path, assume_ras=True)
    assert Grid((1, 1, 1), space.grid.affine).orientation == "RAS"
    assert space.warnings == (NO_ORIENTATION,)


def test_other_tools_take_a_scan_without_orientation_elsewhere(forms: Forms) -> None:
    """As the warning says: ITK and ANTs from 0 on to the left and posterior, nibabel mirrored at our center."""
    path = forms()
    ours = space_of(path, assume_ras=True)
    assert ours.warnings == (NO_ORIENTATION,)
    itk = sitk.ReadImage(str(path))
    assert itk.GetOrigin() == (0, 0, 0)
    assert itk.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)  # LPS
    np.testing.assert_allclose(nib.load(path).affine, np.diag([-1, 1, 1, 1]) @ ours.grid.affine)
    ants = pytest.importorskip("ants").image_read(str(path))
    assert (ants.origin, ants.direction.tolist()) == ((0, 0, 0), np.eye(3).tolist())
