# SPDX-License-Identifier: Apache-2.0
"""Transforms of other tools that are not read: the message names the tool that converts them."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scripts.geometry import Affine
from scripts.io import read_transform
from scripts.registration import read_init
from scripts.runtime import InputError

MATRIX = np.array([[0.99, -0.1, 0.02, 3], [0.1, 0.98, 0, -5], [0, 0.03, 1.01, 2.5], [0, 0, 0, 1]])
FLIRT = "".join("  ".join(f"{value:.10g}" for value in row) + "  \n" for row in MATRIX)  # its blanks at the ends, too
NIFTYREG = "\n".join("\t".join(f"{value:.7f}" for value in row) for row in MATRIX)
AFNI = "# 3dvolreg matrices (DICOM-to-DICOM, row-by-row):\n" + " ".join(f"{value:.6f}" for value in MATRIX[:3].ravel())
MNI = "MNI Transform File\n\nTransform_Type = Linear;\nLinear_Transform =\n" + FLIRT.replace("  0  0  0  1", ";")
BOTH = ["-ref FIXED -src MOVING", "-fsl2ras -oitk init.txt", "greedy or NiftyReg"]


@pytest.mark.parametrize("read", [read_transform, lambda path: read_init(str(path))], ids=["--transform", "--init"])
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("flirt.mat", FLIRT, BOTH),
        ("func2highres.xfm", FLIRT, BOTH),
        ("reg_aladin.txt", NIFTYREG, BOTH),
        ("exponents.MAT", np.array2string(MATRIX.astype(np.float32)).replace("[", "").replace("]", ""), BOTH),
        ("robust.lta", "type      = 1\nnxforms   = 1\n", ["FreeSurfer", "lta_convert --inlta", "--outitk init.txt"]),
        ("talairach.m3z", "\x1f\x8b", ["FreeSurfer", "mri_warp_convert --inm3z", "--outitk"]),
        ("anat.aff12.1D", AFNI, ["AFNI", "nitransforms"]),
        ("anat2epi.1D", AFNI, ["AFNI", "nitransforms"]),
        ("register.dat", "bert\n1.0\n1.0\n0.15\n" + FLIRT + "round\n", ["FreeSurfer", "lta_convert --inreg"]),
        ("talairach.xfm", MNI, ["FreeSurfer", "lta_convert --inmni", "--outitk init.txt"]),
        ("T1_sn.mat", "MATLAB 5.0 MAT-file, Platform: PCWIN64\n", ["SPM", "y_*.nii"]),
        ("TransformParameters.0.toml", 'Direction = [1]\nTransform = "EulerTransform"\n', ["elastix", "-tp"]),
        ("deform.mgz", "\x1f\x8b", ["FreeSurfer", "mri_warp_convert --inmgzwarp", "--outitk"]),
        ("anat_WARP+tlrc.HEAD", "\ntype = string-attribute\n", ["AFNI", "3dcopy", "format itk"]),
        ("anat_WARP+tlrc.BRIK.gz", "\x1f\x8b", ["AFNI", "3dcopy"]),
        ("deformationField.mhd", "ObjectType = Image\n", ["an image of ITK", "WriteImage"]),
        ("grid.seq.nrrd", "NRRD0004\n", ["3D Slicer", "WriteImage"]),
        ("TransformParameters.0.txt", '(Transform "BSplineTransform")\n', ["elastix", "transformix -def all -tp"]),
    ],
)
def test_message_names_the_converter(
    tmp_path: Path, refused: Callable, read: Callable, name: str, content: str, words: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    with refused(f"{tmp_path / name}: ", *words):
        read(tmp_path / name)


def test_command_can_be_pasted(tmp_path: Path, refused: Callable) -> None:
    (tmp_path / "my study").mkdir()
    path = tmp_path / "my study" / "flirt.mat"
    path.write_text(FLIRT)
    with refused(f"`c3d_affine_tool '{path}' -oitk init.txt`"):
        read_transform(path)


def test_command_for_an_image_of_itk_makes_a_field(tmp_path: Path) -> None:
    shift = sitk.GetImageFromArray(np.full((6, 7, 8, 3), [1.0, 2.0, 3.0]), isVector=True)
    path = tmp_path / "my field.mha"
    sitk.WriteImage(shift, str(path))
    with pytest.raises(InputError) as caught:
        read_transform(path)
    command = shlex.split(str(caught.value).split("`")[1])
    assert command[0] == "python"
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True)
    found = read_transform(tmp_path / "warp.nii.gz")
    np.testing.assert_allclose(found(np.array([[-3.0, -2.0, 1.0]])), [[-4, -4, 4]], atol=1e-5)  # LPS to RAS


def test_file_of_another_format_is_not_called_a_field_of_it(tmp_path: Path, refused: Callable) -> None:
    (tmp_path / "flirt.mat").write_text(FLIRT)
    with refused("FLIRT"):
        read_transform(tmp_path / "flirt.mat", "fsl")


@pytest.mark.parametrize("name", ["0GenericAffine.mat", "init.txt", "init.tfm"])
def test_affine_of_itk_is_still_read(tmp_path: Path, name: str) -> None:
    sitk.WriteTransform(
        sitk.AffineTransform(MATRIX[:3, :3].ravel().tolist(), MATRIX[:3, 3].tolist()), str(tmp_path / name)
    )
    flip = np.diag([-1, -1, 1, 1])  # LPS to RAS
    found = read_transform(tmp_path / name)
    assert isinstance(found, Affine)
    np.testing.assert_allclose(found.matrix, flip @ MATRIX @ flip, atol=1e-12)
    np.testing.assert_allclose(read_init(str(tmp_path / name)), flip @ MATRIX @ flip, atol=1e-12)


def test_itk_file_of_more_than_an_affine_is_no_start(tmp_path: Path, refused: Callable) -> None:
    field = sitk.Image([6, 7, 8], sitk.sitkVectorFloat64, 3)
    parts = [sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), sitk.DisplacementFieldTransform(field)]
    sitk.WriteTransform(sitk.CompositeTransform(parts), str(tmp_path / "both.tfm"))
    with refused("both.tfm: holds more than an affine map"):
        read_init(str(tmp_path / "both.tfm"))


@pytest.mark.parametrize(
    ("init", "words"), [("afine", "no such file"), ("folder", "a folder"), ("link.mat", "git-annex"), ("e.mat", "zero")]
)
def test_start_that_is_no_file_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable, init: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("e.mat").touch()
    Path("link.mat").symlink_to(".git/annex/objects/SHA256E-s1--0.mat")
    with refused(f"{init}: ", words):
        read_init(init)
