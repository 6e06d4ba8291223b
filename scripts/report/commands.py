# SPDX-License-Identifier: Apache-2.0
"""The commands that reuse a registration in other tools, ready to paste."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

# Tool, note, commands, and the function that quotes a path in their language. The warp contains the affine map, so no
# other transform file is needed.
_TEMPLATES: tuple[tuple[str, str, str, Callable[[str], str]], ...] = (
    (
        "This tool",
        "From the bundle's folder. Images, label maps (values stay exact) and 4-D series. The second command goes the"
        " other way: it brings the fixed image, or whatever lies in its space, onto the moving one.",
        "python -m scripts apply --transform $WARP --input $MOVING --reference $FIXED --output moved_again.nii.gz$RAS\n"
        "python -m scripts apply --transform $BACK --input $FIXED --reference $MOVING --output fixed_moved.nii.gz$RAS",
        shlex.quote,
    ),
    (
        "ANTs",
        "For label maps add: -n GenericLabel",
        "antsApplyTransforms -d 3 -i $M -r $F -t $WARP -o moved_ants.nii.gz",
        shlex.quote,
    ),
    (
        "3D Slicer",
        "In the Python console. By hand: drag the three files into Slicer, load the warp as Transform, and choose it"
        " for the moving image in the Transforms module.",
        "fixed = slicer.util.loadVolume($F)\n"
        "moving = slicer.util.loadVolume($M)\n"
        "warp = slicer.util.loadTransform($WARP)\n"
        "moving.SetAndObserveTransformNodeID(warp.GetID())",
        repr,
    ),
    (
        "FSL",
        "FSL's fields depend on both images' headers, so convert first, from the bundle's folder. For label maps add:"
        " --interp=nn",
        "python -m scripts convert --transform $WARP --to fsl --fixed $F --moving $M --output warp_fsl.nii.gz\n"
        "applywarp --rel -i $M -r $F -w warp_fsl.nii.gz -o moved_fsl.nii.gz",
        shlex.quote,
    ),
    (
        "FreeSurfer",
        "As FreeSurfer documents it; not tested by this project. For label maps add to the second: -rt nearest",
        "mri_warp_convert --inlps $WARP --insrcgeom $M --outm3z warp.m3z\n"
        "mri_convert -at warp.m3z $M moved_freesurfer.nii.gz",
        shlex.quote,
    ),
)


# Names of the warp and of its inverse in the folder of the results.
WARPS = ("warp.nii.gz", "inverse_warp.nii.gz")
# Copies of the images for other tools, in the folder of the results.
COPIES = {"fixed": "fixed_copy.nii.gz", "moving": "moving_copy.nii.gz"}
_NIFTI = (".nii", ".nii.gz")
_COPY = (
    "import sys, nibabel; i = nibabel.load(sys.argv[1]); v = i.get_fdata(dtype='f4'){volume}; "
    "nibabel.save(nibabel.Nifti1Image(v, {affine}), sys.argv[2])"
)


@dataclass(frozen=True)
class Input:
    """An image that was registered.

    Attributes:
        path: path of its file.
        affine: `(4, 4)`, voxel to RAS mm, where that was assumed; None where the file says it.
        volume: number of its volume, from 0; None of a file with one.
    """

    path: str | os.PathLike[str]
    affine: NDArray[np.floating] | None = None
    volume: int | None = None

    @property
    def obstacle(self) -> str:
        """Why other tools cannot take the file as it is; empty if they can."""
        if self.affine is not None:
            return "its header has no orientation, so they would place it elsewhere"
        if self.volume is not None:
            return f"it is 4-D, and volume {self.volume} was registered"
        return "" if str(self.path).lower().endswith(_NIFTI) else "not every tool reads its format"


@dataclass(frozen=True)
class Reuse:
    """Commands of one tool that apply the warp.

    Attributes:
        tool: name of the tool.
        note: advice on the commands, plain text.
        text: the commands, one a line.
    """

    tool: str
    note: str
    text: str


def reuse_commands(
    fixed: Input, moving: Input, folder: str | os.PathLike[str], warps: tuple[str, str] = WARPS
) -> list[Reuse]:
    """Commands that resample an image of the moving space on the fixed image's grid, by the warp.

    Those of this tool also go the other way, by its inverse.

    Paths are made absolute, so the commands run from any folder. Results go to the folder that they run in. Where other
    tools cannot take a file as it is, a command before theirs writes a copy into `folder`, which they then take.

    Args:
        fixed: the fixed image.
        moving: the moving image.
        folder: folder of the registration's results.
        warps: names of the warp and of its inverse in it.

    Returns:
        One entry for each tool.
    """
    folder = Path(os.path.abspath(folder))
    names = {name: str(folder / warp) for name, warp in zip(("WARP", "BACK"), warps, strict=True)}
    notes, copies = [], []
    for role, image in (("fixed", fixed), ("moving", moving)):
        path = os.path.abspath(image.path)
        copy = str(folder / COPIES[role]) if image.obstacle else path
        names |= {role.upper(): path, role[0].upper(): copy}
        if image.obstacle:
            notes.append(f"{role} image: {image.obstacle}")
            copies.append(shlex.join(["python", "-c", _copy_code(image), path, copy]))
    option = "" if fixed.affine is None and moving.affine is None else " --assume_ras"
    first, *others = (
        Reuse(tool, note, _filled(text.replace("$RAS", option), names, quote)) for tool, note, text, quote in _TEMPLATES
    )
    if not copies:
        return [first, *others]
    note = f"To be run first: the commands below take the copies ({'; '.join(notes)})."
    return [first, Reuse("Copies for other tools", note, "\n".join(copies)), *others]


def _copy_code(image: Input) -> str:
    """Python that writes an image as a 3-D NIfTI with the place that it had in the registration."""
    volume = "" if image.volume is None else f".reshape(*i.shape[:3], -1, order='F')[..., {image.volume}]"
    return _COPY.format(volume=volume, affine="i.affine" if image.affine is None else image.affine.tolist())


def _filled(text: str, paths: dict[str, str], quote: Callable[[str], str]) -> str:
    return Template(text).substitute({name: quote(path) for name, path in paths.items()})
