# SPDX-License-Identifier: Apache-2.0
"""What a NIfTI says of the vectors that it holds: by its intent code, and by the intent's name and parameters.

Codes from 2006 on are FSL's (`nifti1.h`, FSL's additions). NiftyReg and SPM write vectors with code 1007, as ITK does,
and tell them apart by the intent's name; NiftyReg's first parameter is the kind of transform (`NREG_TRANS_TYPE`).
"""

import shlex
from typing import get_args

import nibabel as nib

from scripts.conventions import FieldFormat
from scripts.io.files import FilePath
from scripts.io.images import DISPLACEMENT_INTENT, VECTOR_INTENT
from scripts.runtime import InputError

INTENTS = {"itk": VECTOR_INTENT, "dispvect": DISPLACEMENT_INTENT, "fsl": 2006}  # of the formats that have one
_FORMATS = {intent: kind for kind, intent in INTENTS.items()}
_SILENT = (0, 2001)  # none; time series, which tools write for any four axes

_COEFFICIENTS = (
    "make displacements of them with `fnirtfileutils --in={} --ref=FIXED --out=FIELD --withaff`, and give FIELD"
)
_FSL = {
    2007: f"cubic B-spline coefficients of FSL's FNIRT, not displacements; {_COEFFICIENTS}",
    2008: f"DCT coefficients of FSL's FNIRT, not displacements; {_COEFFICIENTS}",
    2009: f"quadratic B-spline coefficients of FSL's FNIRT, not displacements; {_COEFFICIENTS}",
    2016: "cubic B-spline coefficients of FSL's TOPUP, no transform between two scans; give another file",
    2017: "quadratic B-spline coefficients of FSL's TOPUP, no transform between two scans; give another file",
    2018: "a field of FSL's TOPUP in Hz, no transform between two scans; give another file",
}
_TO_POSITIONS = "make positions of them with `reg_transform -ref FIXED -def {} FIELD`, and give FIELD"
_NIFTYREG = {0: "absolute", 1: "dispvect"}  # positions, displacements; both RAS mm
_NIFTYREG_REFUSED = {
    2: f"control points of a cubic B-spline of NiftyReg; {_TO_POSITIONS}",
    3: f"velocities of NiftyReg, stored as positions; {_TO_POSITIONS}",
    4: f"velocities of NiftyReg; {_TO_POSITIONS}",
    5: f"control points of a velocity of NiftyReg; {_TO_POSITIONS}",
    6: f"control points of a linear spline of NiftyReg; {_TO_POSITIONS}",
}
_DARTEL = b"Flow Field"  # how SPM describes its u_*.nii, which have no intent


def field_format(path: FilePath, image: nib.Nifti1Image, given: str | None) -> str:
    """The format of a field, one of `FIELD_FORMATS`.

    Args:
        path: path of the file, for messages.
        image: the file, opened.
        given: the format that the user says it has; None where the file has to say it.

    Raises:
        InputError: if the file says that it holds something else than a field that can be read, contradicts what is
            given, or says nothing and nothing is given.
    """
    if image.header["descrip"].item() == _DARTEL:
        raise InputError(
            f"{path}: velocities of SPM's Dartel (a flow field), not displacements; "
            "save a deformation y_*.nii of them with SPM's Deformations, and give that"
        )
    intent, name = int(image.header["intent_code"]), image.header.get_intent()[2]
    told = _told(path, intent, name, int(image.header["intent_p1"]))
    if told is None and given is None:
        raise InputError(
            f"{path}: its NIfTI intent {intent} does not tell which kind of field it is; give the format, one of "
            f"{', '.join(get_args(FieldFormat))} (a warp of AFNI's 3dQwarp is of format itk)"
        )
    # Without a name the intent of ITK's fields means vectors of any kind, so they may be positions.
    if told in (None, given) or (given == "absolute" and intent == VECTOR_INTENT and not name):
        return str(given)
    if given is not None:
        says = f"intent {intent}" + (f", named {name}," if name else "")
        raise InputError(f"{path}: its NIfTI {says} says that it is a field of format {told}, not {given}")
    return str(told)


def _told(path: FilePath, intent: int, name: str, kind: int) -> str | None:
    """The format that the intent, its name and the kind of NiftyReg's transforms tell; None where they tell nothing."""
    refused = _FSL.get(intent)
    if name == "NREG_TRANS":
        if kind in _NIFTYREG:
            return _NIFTYREG[kind]
        refused = _NIFTYREG_REFUSED.get(kind, f"a transform of NiftyReg of unknown kind {kind}; {_TO_POSITIONS}")
    elif name.startswith("NREG_"):  # NREG_CPP_FILE and NREG_VEL_STEP of NiftyReg before 1.5
        refused = f"control points of an old version of NiftyReg; {_TO_POSITIONS}"
    elif name == "Mapping":
        return "absolute"  # SPM's y_*.nii
    elif intent in _FORMATS:
        return _FORMATS[intent]
    elif intent not in _SILENT and refused is None:
        refused = f"its NIfTI intent {intent} is not that of a field; give another file, or correct its header"
    if refused is not None:
        raise InputError(f"{path}: {refused.format(shlex.quote(str(path)))}")
    return None
