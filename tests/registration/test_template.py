# SPDX-License-Identifier: Apache-2.0
"""The template by name among the files of a pair, in lists of pairs, and where transforms are used again."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.registration.fingerprint import settings_digests, source_digests
from scripts.registration.jobs import registration_jobs
from scripts.registration.pair import Job
from scripts.registration.reuse import apply, convert, jacobian
from tests.registration.examples import MATRIX, affine_file, blobs, save

NAME = "MNI152NLin2009aSym"


def test_either_image_of_a_pair_can_be_the_template(small_template: Path) -> None:
    (job,) = registration_jobs("out", {"fixed": "mni152", "moving": "sub/b.nii.gz", "moving_mask": "mni152"})
    assert (job.fixed.image, job.moving.image) == (str(small_template), "sub/b.nii.gz")
    assert job.moving.mask == "mni152"  # the template is an image, so no mask and no label map
    assert job.name == f"{NAME}_b"
    (job,) = registration_jobs("out", {"fixed": "./mni152", "moving": "mni152"})
    assert (job.fixed.image, job.moving.image) == ("./mni152", str(small_template))


def jobs_of(pairs: Path) -> list[Job]:
    return registration_jobs(pairs.parent / "out", {}, pairs=str(pairs), settings={})


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_the_template_in_a_list_is_no_path_relative_to_it(small_template: Path, tmp_path: Path, kind: str) -> None:
    rows = [("mni152", "a.nii.gz"), ("b.nii.gz", "mni152"), ("./mni152", "b.nii.gz")]
    pairs = tmp_path / f"pairs.{kind}"
    if kind == "csv":
        pairs.write_text("\n".join(["fixed,moving", *map(",".join, rows)]))
    else:
        pairs.write_text(json.dumps([dict(zip(("fixed", "moving"), row, strict=True)) for row in rows]))
    jobs = jobs_of(pairs)
    assert [job.name for job in jobs] == [f"{NAME}_a", f"b_{NAME}", "mni152_b"]
    images = [(job.fixed.image, job.moving.image) for job in jobs]
    a, b, file = (str(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz", "mni152"))
    assert images == [(str(small_template), a), (b, str(small_template)), (file, b)]


def test_a_pair_is_done_anew_if_the_template_changes(
    small_template: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    save(tmp_path / "a.nii.gz", blobs())
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("fixed,moving\nmni152,a.nii.gz\n")
    (job,) = jobs_of(pairs)
    Path(job.folder).mkdir(parents=True)
    found = {"fingerprint": {**source_digests(job), **settings_digests({})}}
    (Path(job.folder) / "metrics.json").write_text(json.dumps(found))
    assert jobs_of(pairs) == []
    image = nib.load(small_template)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), small_template)
    assert len(jobs_of(pairs)) == 1
    assert "something has changed: fixed image (1)" in capsys.readouterr().out


def test_without_nilearn_a_list_with_the_template_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable
) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    (tmp_path / "pairs.csv").write_text("fixed,moving\nmni152,a.nii.gz\n")
    with refused("mni152", "nilearn", "pip install '.[template]'"):
        jobs_of(tmp_path / "pairs.csv")


def test_the_template_gives_the_grid_where_transforms_are_used_again(small_template: Path, tmp_path: Path) -> None:
    template = nib.load(small_template)
    affine, out = tmp_path / "affine.mat", tmp_path / "out.nii.gz"
    affine_file(affine, MATRIX)
    labels = save(tmp_path / "labels.nii.gz", blobs().astype(np.uint8))
    calls = (
        lambda: apply(str(affine), labels, "mni152", str(out)),
        lambda: jacobian(str(affine), str(out), "mni152"),
        lambda: convert(str(affine), str(out), "itk", fixed="mni152"),
    )
    for call in calls:
        call()
        made = nib.load(out)
        assert made.shape[:3] == template.shape
        np.testing.assert_allclose(made.affine, template.affine, atol=1e-5)
        out.unlink()
    named, given = tmp_path / "named.nii.gz", tmp_path / "given.nii.gz"
    apply(str(affine), "mni152", labels, str(named))
    apply(str(affine), str(small_template), labels, str(given))
    assert named.read_bytes() == given.read_bytes()
