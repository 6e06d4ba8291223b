# SPDX-License-Identifier: Apache-2.0
"""What makes a finished pair one to be done anew: anything that its result depends on, and nothing else."""

import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from scripts.io.files import file_sha256
from scripts.networks import MSFBNet
from scripts.registration.fingerprint import (
    described_init,
    described_network,
    settings_digests,
    source_digest,
    source_digests,
)
from scripts.registration.jobs import registration_jobs
from scripts.registration.pair import Job

SETTINGS = {"seed": 0, "weights": {"path": "models/model.pt", "sha256": "ab"}}
COLUMNS = ("fixed", "moving", "fixed_mask", "moving_exclude", "moving_label", "fixed_landmarks", "name")
CELLS = ("f.hdr", "m.nii.gz", "mask.nii", "exclude.nii", "label.nii.gz", "f.csv", "one")


@pytest.fixture
def study(tmp_path: Path, blob: Callable) -> Path:
    """A folder of files of which all belong to one pair."""
    nib.save(nib.Nifti1Pair(blob((12, 11, 10), 0), np.eye(4)), tmp_path / "f.hdr")
    for seed, name in enumerate(("m.nii.gz", "mask.nii", "exclude.nii", "label.nii.gz"), start=1):
        nib.save(nib.Nifti1Image(blob((12, 11, 10), seed), np.eye(4)), tmp_path / name)
    (tmp_path / "f.csv").write_text("x,y,z\n1,2,3\n")
    return tmp_path


@pytest.fixture
def jobs(study: Path) -> Callable[..., list[Job]]:
    """The jobs that are not finished, of a list with this pair."""

    def listed(settings: dict[str, Any] = SETTINGS, cells: Sequence[str] = CELLS) -> list[Job]:
        (study / "pairs.csv").write_text(f"{','.join(COLUMNS)}\n{','.join(cells)}\n")
        return registration_jobs(study / "out", {}, pairs=str(study / "pairs.csv"), settings=settings)

    return listed


@pytest.fixture
def finished(jobs: Callable, study: Path) -> Path:
    """The folder of the pair's results, as a registration leaves it."""
    (job,) = jobs()
    folder = Path(job.folder)
    folder.mkdir(parents=True)
    (folder / "warp.nii.gz").touch()
    found = {**source_digests(job), **settings_digests(SETTINGS)}
    (folder / "metrics.json").write_text(json.dumps({"fingerprint": found, "files": ["warp.nii.gz"]}))
    assert jobs() == []
    return folder


def other_voxels(path: Path) -> None:
    """Another image, with the same header and, uncompressed, of the same size."""
    image = nib.load(path)
    array = np.asarray(image.dataobj).copy()
    array[5, 5, 5] += 1
    nib.save(type(image)(array, image.affine, image.header), path)


@pytest.mark.parametrize("name", ["m.nii.gz", "mask.nii", "exclude.nii", "label.nii.gz", "f.hdr"])
@pytest.mark.usefixtures("finished")
def test_other_voxels_of_any_image_of_a_pair_are_noticed(study: Path, jobs: Callable, name: str) -> None:
    header = (study / "f.hdr").read_bytes()
    other_voxels(study / name)
    assert (study / "f.hdr").read_bytes() == header
    assert len(jobs()) == 1


@pytest.mark.usefixtures("finished")
def test_another_row_of_landmarks_is_noticed(study: Path, jobs: Callable, capsys: pytest.CaptureFixture) -> None:
    (study / "f.csv").write_text("x,y,z\n1,2,4\n")
    assert len(jobs()) == 1
    assert "1 pairs are done anew, as something has changed: fixed landmarks (1)" in capsys.readouterr().out


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("gone", ["mask.nii", "exclude.nii", "label.nii.gz", "f.csv"])
def test_a_file_that_is_no_longer_given_is_noticed(jobs: Callable, gone: str) -> None:
    assert len(jobs(cells=tuple("" if cell == gone else cell for cell in CELLS))) == 1


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("gone", ["mask.nii", "f.img"])
def test_a_file_that_is_no_longer_there_is_noticed(study: Path, jobs: Callable, gone: str) -> None:
    (study / gone).unlink()
    assert len(jobs()) == 1


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"weights": {"path": "models/model.pt", "sha256": "cd"}}, {"labels": [1, 2]}, {"composite": True}],
    ids=str,
)
def test_other_settings_are_noticed(jobs: Callable, other: dict[str, Any]) -> None:
    assert len(jobs({**SETTINGS, **other})) == 1


@pytest.mark.usefixtures("finished")
def test_another_version_is_noticed(
    jobs: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("scripts.registration.fingerprint.bundle_version", lambda: "99.0")
    assert len(jobs()) == 1
    assert "version (1)" in capsys.readouterr().out


def test_results_of_versions_without_a_fingerprint_are_done_anew(finished: Path, jobs: Callable) -> None:
    (finished / "metrics.json").write_text(json.dumps({"settings": SETTINGS}))
    assert len(jobs()) == 1


def test_results_that_are_not_there_or_not_whole_are_done_anew(finished: Path, jobs: Callable) -> None:
    (finished / "warp.nii.gz").unlink()
    assert len(jobs()) == 1
    (finished / "metrics.json").write_text('{"fingerprint": {')
    assert len(jobs()) == 1


@pytest.mark.usefixtures("finished")
def test_the_same_content_elsewhere_is_finished(study: Path, jobs: Callable) -> None:
    (study / "moved").mkdir()
    for name in (*CELLS[:-1], "f.img"):
        shutil.copy(study / name, study / "moved" / name)
    weights = {"path": "elsewhere.pt", "sha256": "ab"}
    cells = [*(f"moved/{name}" for name in CELLS[:-1]), "one"]
    assert jobs({**SETTINGS, "weights": weights}, cells) == []


# --- digests ----------------------------------------------------------------------------------------------------------


def test_digest_of_a_file_is_its_sha256(study: Path) -> None:
    for name in ("m.nii.gz", "f.csv"):
        assert source_digest(str(study / name)) == file_sha256(study / name)
    assert source_digest(nib.load(study / "m.nii.gz")) == file_sha256(study / "m.nii.gz")


def test_an_image_of_two_files_has_one_digest_by_either_name(study: Path) -> None:
    (study / "f.txt").write_text("another file of this name")
    before = source_digest(str(study / "f.hdr"))
    assert before == source_digest(study / "f.img") != file_sha256(study / "f.hdr")
    (study / "f.txt").write_text("changed")
    assert source_digest(str(study / "f.hdr")) == before
    (study / "f.mat").write_text("of SPM, which says where the voxels lie")
    assert source_digest(str(study / "f.hdr")) != before


def test_compressed_voxels_of_a_pair_count(study: Path) -> None:
    for ending in ("hdr", "img"):
        (study / f"g.{ending}.gz").write_bytes(gzip.compress((study / f"f.{ending}").read_bytes()))
    before = source_digest(str(study / "g.hdr.gz"))
    (study / "g.img.gz").write_bytes(gzip.compress(b"other"))
    assert source_digest(str(study / "g.hdr.gz")) != before


def test_what_has_no_digest_equals_no_file(study: Path) -> None:
    words = {source_digest(nib.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4))), source_digest(str(study / "missing.nii"))}
    assert len(words) == 2 and all(word and len(word) < 64 for word in words)
    assert source_digest(None) is None


def test_the_content_of_an_initial_transform_counts(tmp_path: Path) -> None:
    assert described_init("rigid") == "rigid"
    assert described_init(str(tmp_path / "missing.mat")) == str(tmp_path / "missing.mat")
    digests = []
    for text in ("one", "two"):
        (tmp_path / "init.tfm").write_text(text)
        digests.append(settings_digests({"init": described_init(str(tmp_path / "init.tfm"))}))
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    "other",
    [
        {"iterations": 1},
        {"symmetric": False},
        {"diffeomorphic": False},
        {"fusion": "add"},
        {"attention": "global"},
        {"detail": False},
        {"comparison": "difference"},
        {"auxiliary_decoder": False},
        {"field_scale": 0},
    ],
    ids=str,
)
def test_networks_that_compute_otherwise_are_told_apart(other: dict[str, Any]) -> None:
    usual = {"channels": (8, 8, 8, 8)}
    assert described_network(MSFBNet(**usual)) == described_network(MSFBNet(**usual))
    assert described_network(MSFBNet(**usual, **other)) != described_network(MSFBNet(**usual))
