# SPDX-License-Identifier: Apache-2.0
"""What a run on a BIDS dataset leaves: derivatives that BIDS's own validator takes, done once."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts import api
from scripts.runtime import bundle_version

pytestmark = pytest.mark.usefixtures("keep_any_deformation")

DATASET_FILES = {"dataset_description.json", "README.md", ".bidsignore", "index.html"}
FILES = (
    "sub-01_ses-1_T1w.nii.gz",
    "sub-01_ses-2_acq-fast_run-01_T1w.nii",
    "sub-01_ses-2_acq-fast_run-02_T1w.nii.gz",
    "sub-01_ses-2_T2w.nii.gz",
)


def files_in(folder: Path) -> set[str]:
    """Relative paths of all files, hidden ones, too."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def results(stem: str, place: str, space: str) -> set[str]:
    return {
        f"sub-01/{place}/{stem}_space-{space}_desc-preproc_T1w.nii.gz",
        f"sub-01/{place}/{stem}_space-{space}_desc-preproc_T1w.json",
        f"sub-01/{place}/{stem}_space-{space}_desc-qualityT1w_probseg.nii.gz",
        f"sub-01/{place}/{stem}_space-{space}_desc-qualityT1w_probseg.json",
        f"sub-01/{place}/{stem}_from-T1w_to-{space}_mode-image_xfm.nii.gz",
        f"sub-01/{place}/{stem}_from-{space}_to-T1w_mode-image_xfm.nii.gz",
        f"sub-01/figures/{stem}_space-{space}_desc-registration_T1w.html",
    }


def rows_of(page: Path) -> list[list[str]]:
    """Texts of the cells of each row."""
    body = page.read_text().partition("<tbody>")[2]
    return [
        [re.sub("<[^>]+>", "", cell) for cell in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall("<tr>(.*?)</tr>", body)
    ]


@pytest.fixture
def root(tree: Callable) -> Path:
    return tree(*(f"sub-01/ses-{name[11]}/anat/{name}" for name in FILES), "sub-02/anat/sub-02_T2w.nii.gz")


@pytest.fixture
def atlas(save_scan: Callable, blob: Callable) -> Path:
    """A fixed image on another grid than the scans."""
    affine = np.diag([-1.1, 1.0, 1.2, 1.0])
    affine[:3, 3] = [23, -1, -2]
    return save_scan("atlas.nii.gz", blob((22, 26, 20), 9), affine)


def test_transforms_move_what_their_names_say(
    bids: Callable, tree: Callable, atlas: Path, random_weights: Path, tmp_path: Path
) -> None:
    scan = tree("sub-01/anat/sub-01_T1w.nii.gz") / "sub-01/anat/sub-01_T1w.nii.gz"
    bids(scan.parents[2], to=atlas, weights=random_weights)  # they make it worse: the verdict does not matter
    anat = tmp_path / "out/sub-01/anat"
    there = anat / "sub-01_from-T1w_to-atlas_mode-image_xfm.nii.gz"
    back = anat / "sub-01_from-atlas_to-T1w_mode-image_xfm.nii.gz"
    moved, fixed = nib.load(anat / "sub-01_space-atlas_desc-preproc_T1w.nii.gz"), nib.load(atlas)
    assert moved.shape == fixed.shape and np.allclose(moved.affine, fixed.affine)
    again = api.apply(str(there), str(scan), str(atlas), interpolation="linear")
    # What is stored is rounded to the scan's whole numbers.
    np.testing.assert_allclose(np.asarray(again.dataobj), np.asarray(moved.dataobj), atol=0.6)
    assert np.abs(np.asarray(moved.dataobj) - np.asarray(fixed.dataobj)).max() > 100
    assert nib.load(there).shape[:3] == fixed.shape and nib.load(back).shape[:3] == nib.load(scan).shape


def test_derivatives_have_what_bids_wants_and_are_made_once(
    bids: Callable, root: Path, atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    before = files_in(root)
    out = root / "derivatives" / "msfbnet"
    assert bids(root, to=atlas, output_dir=out) == ""
    made = files_in(out)
    assert made == (
        DATASET_FILES
        | results("sub-01_ses-1", "ses-1/anat", "atlas")
        | results("sub-01_ses-2_acq-fast_run-01", "ses-2/anat", "atlas")
        | results("sub-01_ses-2_acq-fast_run-02", "ses-2/anat", "atlas")
    )
    assert files_in(root) == before | {f"derivatives/msfbnet/{name}" for name in made}

    about = json.loads((out / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"] == [{"Name": "MSFBNet", "Version": bundle_version()}]
    assert (out / about["DatasetLinks"]["raw"]).resolve() == root.resolve()
    sidecar = out / "sub-01/ses-1/anat/sub-01_ses-1_space-atlas_desc-preproc_T1w.json"
    content = json.loads(sidecar.read_text())
    assert content["Sources"] == ["bids:raw:sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", atlas.as_uri()]
    assert content["SpatialReference"] == atlas.as_uri()
    assert content["SkullStripped"] is True
    assert content["verdict"] in ("pass", "look") and 0 < content["lncc"] < 1
    report = (out / "sub-01/figures/sub-01_ses-1_space-atlas_desc-registration_T1w.html").read_text()
    transforms = [name for name in made if "sub-01_ses-1_from" in name]
    for path in transforms:
        assert str(out / path) in report and f"<strong>{Path(path).name}</strong>" in report
    assert ">warp.nii.gz" not in report and "/warp.nii.gz" not in report

    times = {path: (out / path).stat().st_mtime_ns for path in made if path.startswith("sub-")}
    capsys.readouterr()
    assert bids(root, to=atlas, output_dir=out) == ""
    assert "3 of 3 pairs are finished already" in capsys.readouterr().out
    assert {path: (out / path).stat().st_mtime_ns for path in times} == times
    assert files_in(out) == made

    (out / "index.html").unlink()
    (out / "README.md").write_text("Mine.")
    (out / "dataset_description.json").write_text(json.dumps(about | {"Authors": ["C"]}))
    assert bids(root, to=atlas, output_dir=out) == ""
    assert files_in(out) == made
    assert (out / "README.md").read_text() == "Mine."
    assert json.loads((out / "dataset_description.json").read_text()) == about | {"Authors": ["C"]}
    (out / transforms[0]).unlink()
    assert bids(root, to=atlas, output_dir=out, participant_label="01") == ""
    printed = capsys.readouterr().out
    assert "2 of 3 pairs are finished already" in printed and "files of the result (1)" in printed
    assert files_in(out) == made


def test_page_has_the_poorest_first_and_links_to_the_reports(
    bids: Callable, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = (root / "sub-01/ses-2/anat" / name for name in FILES[1:3])
    bad.write_bytes(bad.read_bytes()[:3000])
    # One is in the folder of another session than its name says.
    for session, name in ((1, "ses-1"), (2, "ses-1"), (9, "ses-9")):
        (root / f"sub-03/ses-{session}/anat").mkdir(parents=True)
        shutil.copy(root / "sub-01/ses-1/anat" / FILES[0], root / f"sub-03/ses-{session}/anat/sub-03_{name}_T1w.nii.gz")
    verdicts = iter([("fail", ["a <gap>"]), ("pass", ["good"])])
    monkeypatch.setattr("scripts.registration.measuring.judge", lambda _: next(verdicts))

    assert bids(root, to="ses-1") == "1 of 3 pairs could not be registered; they are listed above"
    printed = capsys.readouterr()
    assert "sub-01_ses-2_acq-fast_run-01_T1w: " in printed.err and "is damaged or cut short" in printed.err
    rows = rows_of(tmp_path / "out/index.html")
    assert [row[:3] for row in rows] == [
        ["not registered", rows[0][1], "ses1"],
        ["✗ fail", "sub-01_ses-2_acq-fast_run-02_T1wa &lt;gap&gt;", "ses1"],
        ["✓ pass", "sub-03_ses-9_T1wgood", "ses1"],
        ["skipped", "sub-02no T1w image", ""],
        ["skipped", rows[4][1], ""],
    ]
    assert rows[0][1].startswith("sub-01_ses-2_acq-fast_run-01_T1w") and "is damaged or cut short" in rows[0][1]
    assert rows[4][1].startswith("sub-03_ses-1_T1w.nii.gznot in the folder sub-03/ses-1 ")
    assert re.fullmatch(r"0\.\d+ → 0\.\d+|1\.0* → 1\.0*", rows[1][3])
    links = re.findall('href="(.*?)"', (tmp_path / "out/index.html").read_text())
    assert len(links) == 2 and all((tmp_path / "out" / link).is_file() for link in links)

    # What is mended is done; what has a verdict already is not done again.
    nib.save(nib.load(good), bad)
    monkeypatch.setattr("scripts.registration.measuring.judge", lambda _: ("fail", ["poor"]))
    assert bids(root, to="ses-1").startswith("1 of 1 registrations failed")
    assert [row[0] for row in rows_of(tmp_path / "out/index.html")][:3] == ["✗ fail", "✗ fail", "✓ pass"]

    # What can no longer be registered has no verdict of an earlier time.
    bad.write_bytes(b"damaged")
    assert "cannot be read" in bids(root, to="ses-1")
    assert [row[0] for row in rows_of(tmp_path / "out/index.html")][:3] == ["not registered", "✗ fail", "✓ pass"]


def test_results_of_several_spaces_lie_side_by_side(
    bids: Callable, tree: Callable, atlas: Path, tmp_path: Path
) -> None:
    root = tree(*(f"sub-01/ses-{n}/anat/sub-01_ses-{n}_T1w.nii.gz" for n in (1, 2)))
    assert bids(root, to=atlas) == "" and bids(root, to="1") == ""
    assert files_in(tmp_path / "out") == (
        DATASET_FILES
        | results("sub-01_ses-1", "ses-1/anat", "atlas")
        | results("sub-01_ses-2", "ses-2/anat", "atlas")
        | results("sub-01_ses-2", "ses-2/anat", "ses1")
    )
    assert sorted(row[2] for row in rows_of(tmp_path / "out/index.html")) == ["atlas", "atlas", "ses1"]


def issues(folder: Path) -> list[tuple[str, str, str]]:
    """Severity, code and file of everything that BIDS's validator finds."""
    pytest.importorskip("bids_validator_deno", reason="no bids-validator-deno: the derivatives are not validated")
    line = [sys.executable, "-c", "import bids_validator_deno as v; v.cli()", str(folder), "--format", "json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["issues"]["issues"]
    return [(issue["severity"], issue["code"], issue.get("location", "")) for issue in found]


@pytest.mark.slow
def test_the_validator_of_bids_finds_no_error(bids: Callable, root: Path, atlas: Path, tmp_path: Path) -> None:
    assert [issue for issue in issues(root) if issue[0] == "error"] == []
    assert bids(root, to=atlas) == "" and bids(root, to="1") == ""
    assert [issue for issue in issues(tmp_path / "out") if issue[0] == "error"] == []
    (tmp_path / "out/sub-01/stray.txt").touch()
    assert ("error", "NOT_INCLUDED", "/sub-01/stray.txt") in issues(tmp_path / "out")
