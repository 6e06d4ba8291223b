# SPDX-License-Identifier: Apache-2.0
"""What NIfTI fields of other tools say of themselves is believed: read as that, or refused with what converts them."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.conventions import EXIT_INPUT
from scripts.io import read_transform
from scripts.runtime import InputError
from tests.io.examples import GRID

SHIFT = np.array([1.0, -2.0, 3.0])
POSITIONS = nib.affines.apply_affine(GRID.affine, np.moveaxis(np.indices(GRID.shape), 0, -1)) + SHIFT
DISPLACEMENTS = np.broadcast_to(SHIFT, (*GRID.shape, 3))
FORMATS = [None, "itk", "dispvect", "fsl", "learn2reg", "monai", "absolute"]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(vectors, intent, name, kind)`: the file of a field; `kind` is the first parameter of its intent."""

    def write(vectors: np.ndarray, intent: int, name: str = "", kind: int = 0, flat: bool = False) -> Path:
        content = np.asarray(vectors, np.float32)
        image = nib.Nifti1Image(content if flat else content[:, :, :, None], GRID.affine)
        image.header["intent_code"], image.header["intent_name"], image.header["intent_p1"] = intent, name, kind
        image.to_filename(tmp_path / "field.nii.gz")
        return tmp_path / "field.nii.gz"

    return write


def shift(path: Path, given: str | None = None) -> np.ndarray:
    """The only displacement of a field, RAS mm."""
    displacement = read_transform(path, given, GRID, GRID).displacement
    np.testing.assert_allclose(displacement, np.broadcast_to(displacement[0, 0, 0], displacement.shape), atol=1e-4)
    return displacement[0, 0, 0]


# --- read -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vectors", "name", "kind", "format_"),
    [
        (POSITIONS, "NREG_TRANS", 0, "absolute"),  # reg_transform -def
        (DISPLACEMENTS, "NREG_TRANS", 1, "dispvect"),  # reg_transform -disp
        (POSITIONS, "Mapping", 0, "absolute"),  # SPM's y_*.nii
    ],
)
def test_vectors_in_ras_are_told_from_those_of_itk(
    write: Write, vectors: np.ndarray, name: str, kind: int, format_: str
) -> None:
    path = write(vectors, 1007, name, kind)
    np.testing.assert_allclose(shift(path), SHIFT, atol=1e-4)
    np.testing.assert_allclose(shift(path, format_), SHIFT, atol=1e-4)


def test_vectors_without_a_name_are_those_of_itk_or_positions(write: Write) -> None:
    np.testing.assert_allclose(shift(write(DISPLACEMENTS, 1007)), SHIFT * [-1, -1, 1], atol=1e-4)
    np.testing.assert_allclose(shift(write(POSITIONS, 1007), "absolute"), SHIFT, atol=1e-4)


@pytest.mark.parametrize("intent", [0, 2001])  # none, time series
def test_intent_that_tells_nothing_leaves_it_to_the_user(write: Write, intent: int) -> None:
    path = write(POSITIONS, intent, flat=True)
    np.testing.assert_allclose(shift(path, "absolute"), SHIFT, atol=1e-4)
    with pytest.raises(InputError, match="does not tell which kind of field it is; give the format"):
        read_transform(path)


def test_warp_of_afni_is_asked_for_its_format_and_read_as_lps(write: Write) -> None:
    """3dQwarp's NIfTI: DICOM's directions, five axes, no intent, and AFNI's XML as an extension."""
    path = write(DISPLACEMENTS, 0)
    image = nib.load(path)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("afni", b"<?xml version='1.0' ?><AFNI_attributes/>"))
    image.to_filename(path)
    with pytest.raises(InputError, match=r"AFNI's 3dQwarp is of format itk"):
        read_transform(path)
    np.testing.assert_allclose(shift(path, "itk"), SHIFT * [-1, -1, 1], atol=1e-4)


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize(
    ("intent", "what"),
    [
        (2007, r"cubic B-spline coefficients of FSL's FNIRT.*fnirtfileutils --in=\S*field\.nii\.gz --ref=FIXED"),
        (2008, "DCT coefficients of FSL's FNIRT.*fnirtfileutils"),
        (2009, "quadratic B-spline coefficients of FSL's FNIRT.*fnirtfileutils"),
        (2016, "coefficients of FSL's TOPUP"),
        (2017, "coefficients of FSL's TOPUP"),
        (2018, "field of FSL's TOPUP in Hz"),
        (3, "its NIfTI intent 3 is not that of a field"),  # t values
        (1002, "its NIfTI intent 1002 is not that of a field"),  # labels
        (2003, "its NIfTI intent 2003 is not that of a field"),  # RGB
    ],
)
def test_what_is_no_field_is_refused_whatever_the_user_says(
    write: Write, intent: int, what: str, given: str | None
) -> None:
    with pytest.raises(InputError, match=rf"field\.nii\.gz: .*{what}"):
        read_transform(write(DISPLACEMENTS, intent, flat=True), given, GRID, GRID)


@pytest.mark.parametrize("given", FORMATS)
def test_flow_field_of_dartel_is_refused(write: Write, given: str | None) -> None:
    path = write(DISPLACEMENTS, 0)
    image = nib.load(path)
    image.header["descrip"] = b"Flow Field"
    image.to_filename(path)
    with pytest.raises(InputError, match=r"Dartel.*y_\*\.nii"):
        read_transform(path, given, GRID, GRID)


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (2, "control points of a cubic B-spline"),
        (3, "velocities"),
        (4, "velocities"),
        (5, "control points of a velocity"),
        (6, "control points of a linear spline"),
        (9, "unknown kind 9"),
    ],
)
def test_niftyreg_transforms_that_are_not_dense_are_refused(
    write: Write, kind: int, what: str, given: str | None
) -> None:
    with pytest.raises(InputError, match=rf"{what}.*reg_transform -ref FIXED -def \S*field\.nii\.gz FIELD"):
        read_transform(write(POSITIONS, 1007, "NREG_TRANS", kind), given, GRID, GRID)


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize("name", ["NREG_CPP_FILE", "NREG_VEL_STEP"])
def test_control_points_of_an_old_niftyreg_are_refused(write: Write, name: str, given: str | None) -> None:
    with pytest.raises(InputError, match=r"control points of an old version of NiftyReg.*reg_transform"):
        read_transform(write(POSITIONS, 1007, name), given, GRID, GRID)


@pytest.mark.parametrize(
    ("intent", "name", "kind", "given"),
    [
        (1006, "", 0, "itk"),
        (1006, "", 0, "absolute"),
        (1007, "", 0, "dispvect"),
        (1007, "", 0, "monai"),
        (2006, "", 0, "learn2reg"),
        (2006, "", 0, "absolute"),
        (1007, "Mapping", 0, "itk"),
        (1007, "NREG_TRANS", 0, "itk"),
        (1007, "NREG_TRANS", 0, "dispvect"),
        (1007, "NREG_TRANS", 1, "absolute"),
    ],
)
def test_format_that_the_header_contradicts_is_refused(
    write: Write, intent: int, name: str, kind: int, given: str
) -> None:
    with pytest.raises(InputError, match=rf"intent {intent}.* says that it is a field of format \w+, not {given}"):
        read_transform(write(DISPLACEMENTS, intent, name, kind), given, GRID, GRID)


@pytest.mark.parametrize(
    "words",
    [
        [
            "convert",
            "--to",
            "itk",
            "--source",
            "fsl",
            "--output",
            "out.nii.gz",
            "--fixed",
            "f.nii",
            "--moving",
            "f.nii",
        ],
        ["apply", "--input", "f.nii", "--reference", "f.nii", "--output", "out.nii.gz"],
        ["jacobian", "--output", "out.nii.gz"],
    ],
    ids=lambda words: words[0],
)
def test_commands_refuse_coefficients_and_write_nothing(
    write: Write, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, unchanged_process: Callable
) -> None:
    from scripts.__main__ import main

    monkeypatch.chdir(tmp_path)
    nib.Nifti1Image(np.zeros(GRID.shape, np.float32), GRID.affine).to_filename("f.nii")
    write(DISPLACEMENTS, 2007, flat=True)
    with unchanged_process():
        try:
            code = main([*words, "--transform", "field.nii.gz"])
        except SystemExit as error:
            code = error.code
    assert code == EXIT_INPUT
    assert "fnirtfileutils" in capsys.readouterr().err
    assert not Path("out.nii.gz").exists()
