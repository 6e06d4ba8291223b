# SPDX-License-Identifier: Apache-2.0
"""Which scans of a BIDS dataset are registered to what, and under which names, without a registration."""

import builtins
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.bids import Selection, select_scans

ONE, TWO = "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz"


@pytest.fixture
def fixed(save_scan: Callable, blob: Callable) -> str:
    return str(save_scan("atlas_1-mm.nii.gz", blob((20, 22, 19))))


@pytest.fixture
def select(tmp_path: Path, fixed: str) -> Callable[..., Selection]:
    return lambda root, **options: select_scans(root, **{"output_dir": tmp_path / "out", "to": fixed, **options})


def moving(selection: Selection) -> list[str]:
    return [Path(str(job.moving.image)).name for job in selection.jobs]


def outputs(selection: Selection) -> set[str]:
    out = {f"{Path(job.folder).name}/{name}" for job in selection.jobs for name in job.names.values()}
    assert len(out) == sum(len(job.names) for job in selection.jobs), "no two jobs share a file"
    return out


def test_every_scan_of_the_suffix_is_taken_and_nothing_else(tree: Callable, select: Callable) -> None:
    root = tree(
        ONE,
        "sub-01/ses-2/anat/sub-01_ses-2_run-01_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_acq-fast_ce-gd_rec-norm_run-2_T1w.nii",
        "sub-01/ses-2/anat/sub-01_ses-2_T2w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-03/anat/sub-03_T2w.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_desc-x_T1w.nii.gz",
        "sourcedata/sub-08/anat/sub-08_T1w.nii.gz",
        "code/sub-07_T1w.nii.gz",
        ".git/sub-06_T1w.nii.gz",
    )
    (root / "sub-02/anat/sub-02_T1w.json").write_text("{}")
    (root / "sub-04").mkdir()
    selection = select(root)
    assert moving(selection) == [
        "sub-01_ses-1_T1w.nii.gz",
        "sub-01_ses-2_acq-fast_ce-gd_rec-norm_run-2_T1w.nii",
        "sub-01_ses-2_run-01_T1w.nii.gz",
        "sub-02_T1w.nii.gz",
    ]
    assert selection.skipped == {"sub-03": "no T1w image", "sub-04": "no T1w image"}
    assert moving(select(root, suffix="T2w")) == ["sub-01_ses-2_T2w.nii.gz", "sub-03_T2w.nii.gz"]


def test_names_keep_the_entities_in_the_order_of_bids(tree: Callable, select: Callable) -> None:
    root = tree("sub-01/ses-2/anat/sub-01_ses-2_acq-fast_ce-gd_rec-norm_run-01_echo-1_part-mag_chunk-2_T1w.nii.gz")
    stem = "sub-01_ses-2_acq-fast_ce-gd_rec-norm_run-01_echo-1_part-mag"
    place = f"sub-01/ses-2/anat/{stem}"
    assert outputs(select(root)) == {
        f"{place}_space-atlas1mm_chunk-2_desc-preproc_T1w.nii.gz",
        f"{place}_space-atlas1mm_chunk-2_desc-preproc_T1w.json",
        f"{place}_space-atlas1mm_chunk-2_desc-qualityT1w_probseg.nii.gz",
        f"{place}_chunk-2_from-T1w_to-atlas1mm_mode-image_xfm.nii.gz",
        f"{place}_chunk-2_from-atlas1mm_to-T1w_mode-image_xfm.nii.gz",
        f"{place}_chunk-2_desc-brainT1w_mask.nii.gz",
        f"sub-01/figures/{stem}_space-atlas1mm_chunk-2_desc-registration_T1w.html",
    }


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("atlas_1-mm.nii.gz", "atlas1mm"),
        ("tpl-MNI152NLin6Asym_res-01_T1w.nii.gz", "MNI152NLin6Asym"),
        ("a.b.nii", "ab"),
    ],
)
def test_label_of_the_space_comes_from_the_name_of_the_file(
    tree: Callable, select: Callable, save_scan: Callable, blob: Callable, name: str, label: str
) -> None:
    fixed = save_scan(name, blob((20, 22, 19)))
    (job,) = select(tree(ONE), to=str(fixed)).jobs
    assert job.space == label
    assert job.metadata["SpatialReference"] == fixed.as_uri()
    assert job.metadata["Sources"] == [f"bids:raw:{ONE}", fixed.as_uri()]


def test_template_has_its_name_in_templateflow(tree: Callable, select: Callable) -> None:
    pytest.importorskip("nilearn")
    (job,) = select(tree(ONE), to="mni152").jobs
    assert job.space == "MNI152NLin2009aSym"


@pytest.mark.parametrize("to", ["1", "ses-1"])
def test_session_gets_the_other_sessions_of_the_same_subject(
    tree: Callable, select: Callable, to: str, capsys: pytest.CaptureFixture
) -> None:
    root = tree(
        ONE,
        TWO,
        *(f"sub-02/ses-1/anat/sub-02_ses-1_run-{run}_T1w.nii.gz" for run in (1, 2)),
        "sub-02/ses-3/anat/sub-02_ses-3_T1w.nii.gz",
        "sub-03/ses-2/anat/sub-03_ses-2_T1w.nii.gz",
        "sub-04/ses-1/anat/sub-04_ses-1_T1w.nii.gz",
        "sub-05/ses-1/anat/sub-05_ses-1_T2w.nii.gz",
    )
    selection = select(root, to=to)
    pairs = [(Path(str(job.fixed.image)).name, Path(str(job.moving.image)).name) for job in selection.jobs]
    assert pairs == [
        ("sub-01_ses-1_T1w.nii.gz", "sub-01_ses-2_T1w.nii.gz"),
        ("sub-02_ses-1_run-1_T1w.nii.gz", "sub-02_ses-3_T1w.nii.gz"),
    ]
    assert {job.space for job in selection.jobs} == {"ses1"}
    assert selection.jobs[0].metadata["SpatialReference"] == f"bids:raw:{ONE}"
    reasons = {
        "sub-02_ses-1_run-2_T1w.nii.gz": "the scan of session 1 that others are registered to is "
        "sub-02_ses-1_run-1_T1w.nii.gz",
        "sub-03": "no T1w image of session 1",
        "sub-04": "no T1w image of another session than 1",
        "sub-05": "no T1w image",
    }
    assert selection.skipped == reasons
    printed = capsys.readouterr().err.splitlines()
    assert printed == [f"skipped: {name}: {reason}" for name, reason in reasons.items()]


@pytest.mark.parametrize(
    "given", ["01,03", "sub-01, sub-03", ["01", "03"], ["sub-03", "01"], ["01,03"], ("03", "01", "01")]
)
def test_participants_by_commas_or_words_with_or_without_sub(tree: Callable, select: Callable, given: Any) -> None:
    root = tree(*(f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in (1, 2, 3)))
    assert moving(select(root, participant_label=given)) == ["sub-01_T1w.nii.gz", "sub-03_T1w.nii.gz"]


@pytest.mark.parametrize("to", [None, "1"])
def test_what_is_misplaced_or_would_get_the_same_names_is_skipped(tree: Callable, select: Callable, to: str) -> None:
    two = "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii"
    root = tree(
        "sub-01/ses-2/anat/sub-01_ses-1_T1w.nii.gz", "sub-01/ses-2/anat/sub-02_T1w.nii.gz", ONE, two, two + ".gz"
    )
    selection = select(root, **({"to": to} if to else {}))
    assert moving(selection) == [Path(file).name for file in ([] if to else [ONE]) + [two + ".gz"]]
    if to:
        assert str(selection.jobs[0].fixed.image) == str(root / ONE)
    assert selection.skipped == {
        "sub-01_ses-1_T1w.nii.gz": "not in the folder sub-01/ses-1 that BIDS wants for its name",
        "sub-02_T1w.nii.gz": "not in the folder sub-02 that BIDS wants for its name",
        "sub-01_ses-2_T1w.nii": "its results would get the names of those of sub-01_ses-2_T1w.nii.gz",
    }


def test_fixed_image_is_not_registered_to_itself(tree: Callable, select: Callable) -> None:
    root = tree(ONE, TWO)
    (root / "sub-02/anat").mkdir(parents=True)
    (root / "sub-02/anat/sub-02_T1w.nii.gz").symlink_to(root / ONE)
    selection = select(root, to=str(root / ONE))
    assert moving(selection) == ["sub-01_ses-2_T1w.nii.gz"]
    names = ("sub-01_ses-1_T1w.nii.gz", "sub-02_T1w.nii.gz")
    assert selection.skipped == dict.fromkeys(names, "the fixed image itself")


def test_derivatives_are_a_dataset_as_well(tree: Callable, select: Callable) -> None:
    root = tree(
        "sub-01/anat/sub-01_desc-brain_T1w.nii.gz", "sub-01/anat/sub-01_space-MNI152NLin6Asym_desc-brain_T1w.nii.gz"
    )
    selection = select(root)
    assert moving(selection) == ["sub-01_desc-brain_T1w.nii.gz"]
    assert "sub-01/anat/sub-01_space-atlas1mm_desc-preproc_T1w.nii.gz" in outputs(selection)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"participant_label": "01,7,9"}, ("no participant 7, 9 in it; there are 01",)),
        ({"participant_label": 1}, ("no participant 1 ",)),
        ({"suffix": "bold"}, ("nothing to register", "sub-01: no bold image")),
        ({"to": "3"}, ("--to 3", "neither mni152 nor a session of", "(1, 2)")),
        ({"to": "missing.nii.gz"}, ("missing.nii.gz: no such file",)),
    ],
)
def test_labels_and_files_that_are_not_there(
    tree: Callable, select: Callable, refused: Callable, options: dict[str, Any], words: tuple[str, ...]
) -> None:
    root = tree(ONE, TWO)
    with refused(*words):
        select(root, **options)


def test_no_dataset(tree: Callable, select: Callable, refused: Callable, tmp_path: Path) -> None:
    with refused(tmp_path / "none", "no such folder"):
        select(tmp_path / "none")
    root = tree()
    with refused(root, "no folder of a subject"):
        select(root)
    root = tree(ONE)
    (root / "dataset_description.json").write_text("{")
    with refused("dataset_description.json", "not a JSON file"):
        select(root)
    (root / "dataset_description.json").unlink()
    with refused(root, "no dataset_description.json in it"):
        select(root)


@pytest.mark.parametrize("place", ["", "out", "sub-01", "derivatives/../sub-01/new"])
def test_raw_data_are_not_written_to(tree: Callable, select: Callable, refused: Callable, place: str) -> None:
    root = tree(ONE)
    with refused("part of the input dataset"):
        select(root, output_dir=root / place)
    assert len(select(root, output_dir=root / "derivatives" / "x").jobs) == 1


def test_derivatives_of_another_tool_are_not_written_to(
    tree: Callable, select: Callable, refused: Callable, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    for content in ({}, [], {"GeneratedBy": [{"Name": "fMRIPrep"}]}):
        (tmp_path / "out" / "dataset_description.json").write_text(json.dumps(content))
        with refused(tmp_path / "out", "has not written"):
            select(tree(ONE))


def test_without_ancpbids_a_line_says_what_to_install(
    tree: Callable, select: Callable, refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, load = tree(ONE), builtins.__import__

    def without(name: str, *others: Any, **more: Any) -> Any:
        if name.startswith("ancpbids"):
            raise ImportError(name)
        return load(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with refused("ancpbids is not installed", "pip install '.[bids]'"):
        select(root)


class Malicious:
    """An object whose unpickling makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.marker,)


def test_what_lies_in_a_dataset_is_not_unpickled(tree: Callable, select: Callable, tmp_path: Path) -> None:
    root = tree(ONE)
    (root / ".ancpbids-dataset.pickle").write_bytes(pickle.dumps(Malicious(tmp_path / "marker")))
    assert len(select(root).jobs) == 1
    assert not (tmp_path / "marker").exists()
