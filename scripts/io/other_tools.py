# SPDX-License-Identifier: Apache-2.0
"""Transforms of other tools that are not read here: each is refused with what makes an ITK transform of it."""

import shlex
from pathlib import Path

import numpy as np

from scripts.io.files import FilePath, file_start
from scripts.runtime import InputError

# AFNI's displacements are LPS mm, five axes, without an intent.
_AFNI = "write it with `3dcopy {} warp.nii.gz`, and `convert` that from format itk"
_ITK = (
    "write its vectors as NIfTI with "
    "`python -c 'import SimpleITK as s, sys; s.WriteImage(s.ReadImage(sys.argv[1]), sys.argv[2])' {} warp.nii.gz`"
)
_LTA = "{} --src MOVING --trg FIXED --outitk init.txt"
# How a name ends, what such a file is, and what converts it.
_KINDS = {
    ".lta": ("a transform of FreeSurfer", "convert it with `lta_convert --inlta {} --outitk init.txt`"),
    ".m3z": ("a warp of FreeSurfer", "convert it with `mri_warp_convert --inm3z {} --outitk warp.nii.gz`"),
    ".mgz": ("a warp of FreeSurfer", "convert it with `mri_warp_convert --inmgzwarp {} --outitk warp.nii.gz`"),
    ".dat": ("an affine of FreeSurfer", f"convert it with `lta_convert --inreg {_LTA}`"),
    ".head": ("a data set of AFNI", _AFNI),
    ".brik": ("a data set of AFNI", _AFNI),
    ".brik.gz": ("a data set of AFNI", _AFNI),
    ".mha": ("an image of ITK", _ITK),
    ".mhd": ("an image of ITK", _ITK),
    ".nrrd": ("an image of 3D Slicer", _ITK),
    ".nhdr": ("an image of 3D Slicer", _ITK),
    ".1d": ("an affine of AFNI (LPS mm, base to source)", "convert it to an ITK affine, as with nitransforms"),
}
# How a content begins, likewise.
_CONTENTS = {
    b"MNI Transform File": ("an affine of MNI's tools or FreeSurfer", f"convert it with `lta_convert --inmni {_LTA}`"),
    b"MATLAB 5.0 MAT-file": (
        "a file of MATLAB, such as SPM's parameters (ITK's own .mat is older)",
        "save a deformation y_*.nii with SPM's Deformations, and give that",
    ),
}


def refuse_other_tools(path: FilePath) -> None:
    """Refuse a transform of another tool that is known but not read; anything else passes, also what is not there.

    A text of 4 x 4 numbers is one of FLIRT, in millimeters of FSL's own that depend on both images, or one of greedy
    or NiftyReg, in RAS mm: nothing in it tells which.

    Raises:
        InputError: for such a file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        return
    word = shlex.quote(str(path))
    for ending, (kind, remedy) in _KINDS.items():
        if file.name.lower().endswith(ending):
            raise InputError(f"{path}: {kind}, which is not read; {remedy.format(word)}")
    for start, (kind, remedy) in _CONTENTS.items():
        if _start(file).startswith(start):
            raise InputError(f"{path}: {kind}, which is not read; {remedy.format(word)}")
    if _is_elastix(file):
        raise InputError(
            f"{path}: parameters of elastix, which are not read; make a field of them with "
            f"`transformix -def all -tp {word} -out FOLDER`, where they say ResultImageFormat nii.gz"
        )
    if _is_matrix(file):
        raise InputError(
            f"{path}: a text of 4x4 numbers, which does not say whose; convert one of FSL's FLIRT with "
            f"`c3d_affine_tool -ref FIXED -src MOVING {word} -fsl2ras -oitk init.txt`, "
            f"one of greedy or NiftyReg with `c3d_affine_tool {word} -oitk init.txt`"
        )


def _start(file: Path) -> bytes:
    try:
        return file_start(file)
    except OSError:
        return b""


def _is_elastix(file: Path) -> bool:
    start = _start(file)
    return any(sign in start for sign in (b'(Transform "', b"(NumberOfParameters ", b'\nTransform = "'))


def _is_matrix(file: Path) -> bool:
    try:
        rows = [line.split() for line in _start(file).decode("ascii").splitlines() if line.strip()]
        matrix = np.array(rows, dtype=np.float64)
    except ValueError:  # not text, not numbers, or rows of different lengths
        return False
    return matrix.shape == (4, 4) and bool((matrix[3] == [0, 0, 0, 1]).all())
