# SPDX-License-Identifier: Apache-2.0
"""A Learn2Reg submission: the fields as the challenge's evaluation takes them, checked before they are zipped."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from scripts.registration.submission import submission_name, zip_submission

pytestmark = pytest.mark.usefixtures("keep_any_deformation")

NAMES = {"disp_0003_0004.nii.gz", "disp_0004_0003.nii.gz"}
SIZE = (30, 34, 29)


@pytest.fixture
def submit(
    run_bundle: Callable, random_weights: Path, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Run the overlay on the small dataset, into `out`, by weights that move things, for the worse."""
    monkeypatch.setattr("scripts.registration.measuring.judge", lambda _: ("look", []))

    def run(**options: object) -> None:
        given = {"dataset_dir": small_dataset, "output_dir": tmp_path / "out", "weights": random_weights, **options}
        run_bundle("inference", "datasets/learn2reg_submission.yaml", **given)

    return run


@pytest.fixture
def zipper(small_dataset: Path, tmp_path: Path) -> Callable[[], None]:
    """With the two fields that it asks for, of zeros, in their folder."""
    folder = tmp_path / "submission"
    folder.mkdir()
    for name in NAMES:
        write(folder / name, np.zeros((*SIZE, 3), np.float32))
    return lambda: zip_submission(tmp_path, str(small_dataset))


def write(path: Path, array: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def test_fields_are_those_that_the_evaluation_applies(
    submit: Callable, register: Callable, small_dataset: Path, fresh_weights: Path, tmp_path: Path
) -> None:
    submit()
    people = [small_dataset / "imagesTr" / f"VIRTUAL_000{number}_0000.nii.gz" for number in (3, 4)]
    register(*people, tmp_path / "pair")
    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        assert set(archive.namelist()) == {f"submission/{name}" for name in NAMES}
        archive.extract("submission/disp_0003_0004.nii.gz", tmp_path)
    image = nib.load(tmp_path / "submission" / "disp_0003_0004.nii.gz")
    assert image.shape == (*SIZE, 3) and image.get_data_dtype() == np.float32
    field = image.get_fdata()
    assert np.linalg.norm(field, axis=-1).mean() > 0.5

    # As Learn2Reg's evaluation: identity + field, voxels of the array's axes.
    moving = nib.load(people[1]).get_fdata()
    places = np.moveaxis(field, -1, 0) + np.indices(SIZE)
    moved = map_coordinates(moving, places, order=1, mode="nearest")
    ours = nib.load(tmp_path / "pair" / "moved.nii.gz").get_fdata()
    inside = ((places > 0) & (places < np.array(SIZE).reshape(3, 1, 1, 1) - 1)).all(axis=0)
    assert inside.mean() > 0.6
    assert np.abs(moved - ours)[inside].max() < 0.55  # stored as uint8


def test_second_run_skips_what_is_finished(submit: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    submit()
    folder = tmp_path / "out" / "submission"
    assert {path.name for path in folder.iterdir()} == NAMES
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    capsys.readouterr()
    submit()
    assert "2 of 2 pairs are finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_second_run_zips_what_is_finished(submit: Callable, tmp_path: Path) -> None:
    submit()
    (tmp_path / "out" / "submission.zip").unlink()
    submit()
    assert (tmp_path / "out" / "submission.zip").is_file()


def test_a_field_that_is_gone_is_made_again(submit: Callable, tmp_path: Path) -> None:
    submit()
    field = tmp_path / "out" / "submission" / "disp_0003_0004.nii.gz"
    other = field.with_name("disp_0004_0003.nii.gz")
    before = field.read_bytes(), other.stat().st_mtime_ns
    field.unlink()
    submit()
    assert (field.read_bytes(), other.stat().st_mtime_ns) == before


def test_results_of_a_registration_do_not_stay_beside_those_of_a_submission(
    submit: Callable, run_bundle: Callable, small_dataset: Path, tmp_path: Path, random_weights: Path
) -> None:
    places = {"dataset_dir": small_dataset, "output_dir": tmp_path / "out"}
    run_bundle("inference", **places, weights=random_weights, init="none")
    submit()
    folders = [path for path in (tmp_path / "out").iterdir() if path.name.startswith("VIRTUAL")]
    assert [[path.name for path in folder.iterdir()] for folder in folders] == [["metrics.json"]] * 2


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["A_0001_0000.nii.gz", "B_0001_0001.nii.gz"], "two pairs have the field disp_0001_0001.nii.gz"),
        (["A_0001_0000.nii.gz", "T1.nii.gz"], "T1.nii.gz: not named as Learn2Reg's images"),
    ],
)
def test_names_are_refused_before_anything_is_registered(
    submit: Callable, refused: Callable, small_dataset: Path, tmp_path: Path, names: list[str], said: str
) -> None:
    (tmp_path / "data").mkdir()
    for name in names:
        shutil.copy(small_dataset / "imagesTr" / "VIRTUAL_0003_0000.nii.gz", tmp_path / "data" / name)
    pairs = [{"fixed": name, "moving": names[0]} for name in names]
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"registration_val": pairs}))
    with refused(said):
        submit(dataset_dir=tmp_path / "data")
    assert not (tmp_path / "out").exists()


def test_all_that_is_asked_for_is_zipped(zipper: Callable[[], None], tmp_path: Path) -> None:
    zipper()
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert set(archive.namelist()) == {f"submission/{name}" for name in NAMES}
        assert archive.testzip() is None


def nan(path: Path) -> None:
    field = np.zeros((*SIZE, 3), np.float32)
    field[3, 4, 5, 1] = np.nan
    write(path, field)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "is missing"),
    "one too many": (lambda path: path.with_name("disp_0001_0002.nii.gz").write_bytes(b"x"), "is no pair"),
    "other shape": (lambda path: write(path, np.zeros((30, 34, 28, 3), np.float32)), "(30, 34, 28, 3)"),
    "channels first": (lambda path: write(path, np.zeros((3, *SIZE), np.float32)), "(3, 30, 34, 29)"),
    "float64": (lambda path: write(path, np.zeros((*SIZE, 3))), "float64"),
    "NaN": (nan, "NaN or infinity"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_what_the_challenge_would_refuse_is_not_zipped(
    zipper: Callable[[], None], refused: Callable, tmp_path: Path, kind: str
) -> None:
    spoil, complaint = SPOILT[kind]
    spoil(tmp_path / "submission" / "disp_0004_0003.nii.gz")
    with refused(str(tmp_path / "submission"), complaint):
        zipper()
    assert not (tmp_path / "submission.zip").exists()


def test_a_failed_pair_leaves_no_zip(submit: Callable, refused: Callable, small_dataset: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for kind in ("imagesTr", "labelsTr", "keypointsTr"):
        (data / kind).mkdir()
        for path in (small_dataset / kind).iterdir():
            (data / kind / path.name).write_bytes(path.read_bytes())
    content = json.loads((small_dataset / "VIRTUAL_dataset.json").read_text())
    content["registration_val"].append(
        {"fixed": "./imagesTr/VIRTUAL_0001_0000.nii.gz", "moving": "./imagesTr/x_7_0.nii"}
    )
    (data / "dataset.json").write_text(json.dumps(content))
    (data / "imagesTr" / "x_7_0.nii").write_bytes(b"no image")
    with refused("1 of 3 pairs"):
        submit(dataset_dir=data)
    assert {path.name for path in (tmp_path / "out" / "submission").iterdir()} == NAMES
    assert not (tmp_path / "out" / "submission.zip").exists()


@pytest.mark.parametrize("name", ["T1.nii.gz", "OASIS_438.nii.gz", "OASIS_x_0000.nii.gz"])
def test_other_names_than_learn2regs_are_refused(refused: Callable, name: str) -> None:
    good = "data/OASIS_0438_0000.nii.gz"
    assert submission_name(good, good) == "disp_0438_0438.nii.gz"
    with refused(name, "Learn2Reg"):
        submission_name(good, f"data/{name}")


def test_a_failed_verdict_is_told_after_the_zip_is_made(
    submit: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.registration.measuring.judge", lambda _: ("fail", ["it folds"]))
    with pytest.raises(RuntimeError):
        submit()
    assert (tmp_path / "out" / "submission.zip").is_file()
