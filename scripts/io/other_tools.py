# SPDX-License-Identifier: Apache-2.0
"""Transforms of other tools that are not read here: each is refused with what makes an ITK transform of it."""

import shlex
from pathlib import Path

import numpy as np

from scripts.io.files import FilePath, file_start
from scripts.runtime import InputError

# How a name ends, what such a file is, and what converts it.
_KINDS = {
    ".lta": ("a transform of FreeSurfer", "convert it with `lta_convert --inlta {} --outitk init.txt`"),
    ".m3z": ("a warp of FreeSurfer", "convert it with `mri_warp_convert --inm3z {} --outitk warp.nii.gz`"),
    ".aff12.1d": ("an affine of AFNI (LPS mm, base to source)", "convert it to an ITK affine, as with nitransforms"),
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
    if _is_matrix(file):
        raise InputError(
            f"{path}: a text of 4x4 numbers, which does not say whose; convert one of FSL's FLIRT with "
            f"`c3d_affine_tool -ref FIXED -src MOVING {word} -fsl2ras -oitk init.txt`, "
            f"one of greedy or NiftyReg with `c3d_affine_tool {word} -oitk init.txt`"
        )


def _is_matrix(file: Path) -> bool:
    try:
        rows = [line.split() for line in file_start(file).decode("ascii").splitlines() if line.strip()]
        matrix = np.array(rows, dtype=np.float64)
    except (OSError, ValueError):  # not readable, not text, not numbers, or rows of different lengths
        return False
    return matrix.shape == (4, 4) and bool((matrix[3] == [0, 0, 0, 1]).all())
