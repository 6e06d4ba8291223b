# SPDX-License-Identifier: Apache-2.0
"""The commands that reuse a registration in other tools, ready to paste."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

# Tool, note, commands, and the function that quotes a path in their language. The warp contains the affine map, so no
# other transform file is needed.
_TEMPLATES: tuple[tuple[str, str, str, Callable[[str], str]], ...] = (
    (
        "This tool",
        "From the bundle's folder. Images, label maps (values stay exact) and 4-D series; inverse_warp.nii.gz, beside"
        " the warp, maps images of the fixed space into the moving one.",
        "python -m scripts apply --transform $WARP --input $M --reference $F --output moved_again.nii.gz",
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
    fixed: str | os.PathLike[str], moving: str | os.PathLike[str], folder: str | os.PathLike[str]
) -> list[Reuse]:
    """Commands that resample an image of the moving space on the fixed image's grid, by `folder/warp.nii.gz`.

    Paths are made absolute, so the commands run from any folder. Results go to the folder that they run in.

    Args:
        fixed: path of the fixed image.
        moving: path of the moving image.
        folder: folder of the registration's results.

    Returns:
        One entry for each tool.
    """
    names = {"F": fixed, "M": moving, "WARP": Path(folder) / "warp.nii.gz"}
    paths = {name: os.path.abspath(path) for name, path in names.items()}
    return [Reuse(tool, note, _filled(text, paths, quote)) for tool, note, text, quote in _TEMPLATES]


def _filled(text: str, paths: dict[str, str], quote: Callable[[str], str]) -> str:
    return Template(text).substitute({name: quote(path) for name, path in paths.items()})
