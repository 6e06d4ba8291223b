# SPDX-License-Identifier: Apache-2.0
"""The commands that a report shows, run as it shows them: they move the image as the registration did."""

import html
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from scripts.__main__ import main

pytestmark = pytest.mark.usefixtures("keep_any_deformation")

SIZE, MOVING_SIZE = (20, 22, 19), (23, 19, 21)
AFFINE = np.array([[-1.25, 0, 0, 11], [0, 1, 0, -12], [0, 0, 1.125, -9], [0, 0, 0, 1]])  # exact in float32
NAMES = {"fixed": "it's a $HOME.nii.gz", "moving": 'moving "1", <b> & 2.nii.gz'}

Change = Callable[[Path], Path]


def as_it_is(path: Path) -> Path:
    return path


def without_orientation(path: Path) -> Path:
    image = nib.load(path)
    bare = nib.Nifti1Image(np.asarray(image.dataobj), None)
    bare.header.set_zooms(image.header.get_zooms())
    bare.header["sform_code"] = bare.header["qform_code"] = 0
    nib.save(bare, path)
    return path


def second_of_three_volumes(path: Path) -> Path:
    image = nib.load(path)
    series = np.asarray(image.dataobj)[..., None] * np.array([0.0, 1, 0.5], np.float32)
    nib.save(nib.Nifti1Image(series, image.affine), path)
    return path


def as_mgz(path: Path) -> Path:
    image, renamed = nib.load(path), path.with_name(f"{path.name.split('.')[0]}.mgz")
    nib.save(nib.MGHImage(np.asarray(image.dataobj), image.affine), renamed)
    return renamed


CASES: dict[str, tuple[Change, Change, dict]] = {
    "composite": (as_it_is, as_it_is, {"composite": True}),
    "refinement": (as_it_is, as_it_is, {"refine": 2}),
    "no orientation": (without_orientation, without_orientation, {"assume_ras": True}),
    "no orientation of the moving image": (as_it_is, without_orientation, {"assume_ras": True}),
    "volume": (as_it_is, second_of_three_volumes, {"volume": 1}),
    "volume of both, no orientation": (
        second_of_three_volumes,
        lambda path: without_orientation(second_of_three_volumes(path)),
        {"volume": 1, "assume_ras": True},
    ),
    "mgz": (as_mgz, as_mgz, {}),
}


@pytest.fixture
def scans(tmp_path: Path, blob: Callable) -> Callable[[Change, Change], dict[str, Path]]:
    """Files of two heads, float32, after a change each, in a folder with blanks in its name."""
    folder = tmp_path / "a b, c"
    folder.mkdir()

    def make(*changes: Change) -> dict[str, Path]:
        paths = {}
        for (role, name), size, change in zip(NAMES.items(), (SIZE, MOVING_SIZE), changes, strict=True):
            nib.save(nib.Nifti1Image(blob(size, len(paths)).astype(np.float32), AFFINE), folder / name)
            paths[role] = change(folder / name)
        return paths

    return make


def commands_of(report: Path) -> dict[str, list[list[str]]]:
    """Words of each command, by tool."""
    shown = re.findall(r"<h3>(.*?)</h3>.*?<pre [^>]*>(.*?)</pre>", report.read_text(), flags=re.DOTALL)
    assert len(shown) >= 5
    return {
        tool: [shlex.split(line) for line in html.unescape(text).splitlines()]
        for tool, text in shown
        if tool != "3D Slicer"
    }


def run_python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert words[:2] == ["python", "-c"]
    monkeypatch.setattr(sys, "argv", ["-c", *words[3:]])
    exec(words[2])


def moved_by_itk(words: list[str]) -> np.ndarray:
    """What `antsApplyTransforms -d 3 -i M -r F -t WARP` makes."""
    file = dict(zip(words[1::2], words[2::2], strict=True))
    field = sitk.Cast(sitk.ReadImage(file["-t"]), sitk.sitkVectorFloat64)
    fixed, moving = (sitk.ReadImage(file[option]) for option in ("-r", "-i"))
    return sitk.GetArrayFromImage(sitk.Resample(moving, fixed, sitk.DisplacementFieldTransform(field))).T


# The first refinement in a process compiles its kernels.
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case == "refinement")) for case in CASES]
)
def test_commands_of_a_report_do_what_the_registration_did(
    register: Callable, scans: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    *changes, options = CASES[case]
    out = tmp_path / "a b, c" / "out"
    register(*scans(*changes).values(), out, **options)
    check(out, monkeypatch)


def check(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands of a report, in a folder of their own."""
    there = out.parent / "elsewhere"
    there.mkdir()
    monkeypatch.chdir(there)
    expected = nib.load(out / "moved.nii.gz").get_fdata()
    assert expected.std() > 100
    commands = commands_of(out / "report.html")
    ours, back = commands["This tool"]
    assert main(ours[3:]) == 0
    again = nib.load("moved_again.nii.gz").get_fdata()
    np.testing.assert_allclose(again[..., 1] if again.ndim == 4 else again, expected, atol=0.05)
    assert main(back[3:]) == 0
    inverse, fixed_moved = (nib.load(path) for path in (out / "inverse_warp.nii.gz", "fixed_moved.nii.gz"))
    assert fixed_moved.shape[:3] == inverse.shape[:3]
    assert np.std(fixed_moved.dataobj) > 100
    for words in commands.get("Copies for other tools", ()):
        run_python(words, monkeypatch)
    convert, applywarp = commands["FSL"]
    assert main(convert[3:]) == 0
    assert {"-i", "-r", "-w"} < set(applywarp)
    assert Path(applywarp[applywarp.index("-w") + 1]).is_file()
    (ants,) = commands["ANTs"]
    np.testing.assert_allclose(moved_by_itk(ants[:-2]), expected, atol=0.5)


def test_commands_of_a_registration_to_the_template_work(
    register: Callable, small_template: Path, scans: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a b, c" / "out"
    register("mni152", scans(as_it_is, as_it_is)["moving"], out)
    check(out, monkeypatch)
    (ants,) = commands_of(out / "report.html")["ANTs"]
    assert ants[ants.index("-r") + 1] == str(small_template)


def test_commands_of_the_pairs_of_a_list_work(
    run_bundle: Callable, random_weights: Path, scans: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = scans(without_orientation, without_orientation)
    quoted = {role: '"' + path.name.replace('"', '""') + '"' for role, path in paths.items()}
    listed = tmp_path / "a b, c" / "list.csv"
    listed.write_text(f"name,fixed,moving\nfirst pair,{quoted['fixed']},{quoted['moving']}\n")
    given = {"pairs": listed, "init": "none", "weights": random_weights, "assume_ras": True}
    with suppress(Exception):  # a poor verdict; without results, what follows fails
        run_bundle("inference", output_dir=tmp_path / "results", **given)
    check(tmp_path / "results" / "first pair", monkeypatch)


def test_copies_of_an_earlier_pair_do_not_stay(
    register: Callable, scans: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    register(*scans(as_it_is, without_orientation).values(), out, assume_ras=True)
    for words in commands_of(out / "report.html")["Copies for other tools"]:
        run_python(words, monkeypatch)
    assert (out / "moving_copy.nii.gz").is_file()
    register(*scans(as_it_is, as_it_is).values(), out)
    assert not (out / "moving_copy.nii.gz").exists()
    assert "Copies for other tools" not in commands_of(out / "report.html")


def test_scans_without_orientation_are_registered_as_their_twins(
    register: Callable, scans: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Twins whose headers say what is assumed; and that it is assumed is told."""
    bare = scans(without_orientation, without_orientation)
    metrics = register(*bare.values(), tmp_path / "out", assume_ras=True)
    told = capsys.readouterr().err
    for role, path in bare.items():
        (warning,) = metrics[role]["warnings"]
        assert "taken as RAS" in warning and "ITK" in warning and "FSL" in warning
        assert f"warning: {path}: {warning}" in told
        assert f"{role} scan: {warning}" in metrics["reasons"]
        image = nib.load(path)
        affine = np.diag([*image.header.get_zooms()[:3], 1.0])
        affine[:3, 3] = -affine[:3, :3] @ (np.array(image.shape) - 1) / 2
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)
    assert metrics["verdict"] != "pass"
    assert "taken as RAS" in (tmp_path / "out" / "report.html").read_text()
    register(*bare.values(), tmp_path / "twin")
    for name in ("moved", "warp", "inverse_warp"):
        ours, theirs = (nib.load(tmp_path / folder / f"{name}.nii.gz") for folder in ("out", "twin"))
        np.testing.assert_allclose(ours.get_fdata(), theirs.get_fdata(), atol=1e-3)
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)


def test_other_commands_take_the_assumption(
    register: Callable, scans: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    paths = scans(without_orientation, without_orientation)
    out = tmp_path / "out"
    register(*paths.values(), out, assume_ras=True)
    warp, made = out / "warp.nii.gz", tmp_path / "made.nii.gz"
    images = ["--fixed", paths["fixed"], "--moving", paths["moving"]]
    bare_warp = without_orientation_of_a_field(warp, tmp_path / "bare_warp.nii.gz")
    (tmp_path / "points.csv").write_text("x,y,z\n1,2,3\n-4,0,2\n")
    mapped = ["points", "--input", tmp_path / "points.csv", "--output", tmp_path / "mapped.csv"]
    for line in (
        ["convert", "--transform", warp, "--to", "fsl", *images, "--output", made],
        ["convert", "--transform", bare_warp, "--to", "itk", "--output", made],
        ["jacobian", "--transform", out / "affine.mat", "--reference", paths["fixed"], "--output", made],
        ["jacobian", "--transform", bare_warp, "--output", made],
        [*mapped, "--transform", bare_warp],
    ):
        words = [str(word) for word in line]
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 3
        assert "give --assume_ras" in capsys.readouterr().err
        assert not made.exists()
        assert main([*words, "--assume_ras"]) == 0
        made.unlink(missing_ok=True)
    points = (tmp_path / "mapped.csv").read_text()
    assert main([*map(str, mapped), "--transform", str(warp)]) == 0
    assert (tmp_path / "mapped.csv").read_text() == points  # the field's place was the assumed one


def without_orientation_of_a_field(path: Path, bare: Path) -> Path:
    image = nib.load(path)
    field = nib.Nifti1Image(np.asarray(image.dataobj), None)
    field.header.set_zooms((*image.header.get_zooms()[:3], 1, 1))
    field.header.set_intent(1007)
    field.header["sform_code"] = field.header["qform_code"] = 0
    nib.save(field, bare)
    return bare
