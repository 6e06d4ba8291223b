# SPDX-License-Identifier: Apache-2.0
"""The commands that reuse a warp, with paths that a shell would change."""

import ast
import os
import shlex
from pathlib import Path

import pytest

from scripts.report import Input, reuse_commands

SPECIAL = 'it\'s $HOME; `rm x` "a" \\ <b> 脳.nii.gz'


def commands(fixed: str = "/data/f.nii.gz", moving: str = "/data/m.nii.gz", folder: str = "/out") -> dict[str, str]:
    """Commands by tool."""
    return {reuse.tool: reuse.text for reuse in reuse_commands(Input(fixed), Input(moving), folder)}


def test_each_tool_gets_the_files_in_their_roles() -> None:
    found = commands()
    assert list(found) == ["This tool", "ANTs", "3D Slicer", "FSL", "FreeSurfer"]
    assert found["ANTs"].startswith(
        "antsApplyTransforms -d 3 -i /data/m.nii.gz -r /data/f.nii.gz -t /out/warp.nii.gz -o "
    )
    there, back = found["This tool"].splitlines()
    assert "--transform /out/warp.nii.gz --input /data/m.nii.gz --reference /data/f.nii.gz" in there
    assert "--transform /out/inverse_warp.nii.gz --input /data/f.nii.gz --reference /data/m.nii.gz" in back
    convert, applywarp = found["FSL"].splitlines()
    assert "--to fsl --fixed /data/f.nii.gz --moving /data/m.nii.gz --output warp_fsl.nii.gz" in convert
    assert applywarp.startswith("applywarp --rel -i /data/m.nii.gz -r /data/f.nii.gz -w warp_fsl.nii.gz -o ")
    make, use = found["FreeSurfer"].splitlines()
    assert make == "mri_warp_convert --inlps /out/warp.nii.gz --insrcgeom /data/m.nii.gz --outm3z warp.m3z"
    assert use.startswith("mri_convert -at warp.m3z /data/m.nii.gz ")


def test_shells_read_the_path_unchanged() -> None:
    for tool, text in commands(moving=f"/data/{SPECIAL}").items():
        if tool != "3D Slicer":
            for line in text.splitlines():
                words = shlex.split(line)
                assert f"/data/{SPECIAL}" in words
                assert not {"rm", "$HOME;", ";"} & set(words)


def test_python_reads_the_path_unchanged() -> None:
    tree = ast.parse(commands(moving=f"/data/{SPECIAL}")["3D Slicer"])
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert constants == ["/data/f.nii.gz", f"/data/{SPECIAL}", "/out/warp.nii.gz"]


def test_a_path_with_a_template_name_is_not_filled_in() -> None:
    assert "/data/$WARP.nii.gz" in shlex.split(commands(moving="/data/$WARP.nii.gz")["ANTs"])


def test_paths_work_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(commands("f.nii.gz", "a/m.nii.gz", "out")["ANTs"])
    here = Path.cwd()
    assert {str(here / "f.nii.gz"), str(here / "a/m.nii.gz"), str(here / "out/warp.nii.gz")} <= set(words)
    assert [word for word in words if word.endswith(".nii.gz") and not os.path.isabs(word)] == ["moved_ants.nii.gz"]
