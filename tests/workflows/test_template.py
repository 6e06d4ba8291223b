# SPDX-License-Identifier: Apache-2.0
"""A registration to the template by its name, and an atlas that follows it to the scan and back."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.__main__ import main
from scripts.api import apply as apply_in_python
from scripts.api import register as register_in_python
from scripts.io import save_affine
from scripts.networks import MSFBNet

NAME = "MNI152NLin2009aSym"
SHIFT = np.array([12.0, -20.0, 8.0])  # mm


@pytest.fixture
def shifted(small_template: Path, save_scan: Callable) -> Path:
    """The template's brain, elsewhere in the world."""
    template = nib.load(small_template)
    affine = template.affine.copy()
    affine[:3, 3] += SHIFT
    return save_scan("subject.nii.gz", np.asarray(template.dataobj), affine)


@pytest.fixture
def atlas(small_template: Path, save_scan: Callable) -> Path:
    """A label map on the template's grid, which no flip and no turn leaves as it is."""
    template = nib.load(small_template)
    labels = np.zeros(template.shape, np.int16)
    labels[4:9, 5:14, 6:10] = 3
    labels[11:15, 8:12, 9:15] = 7
    return save_scan("atlas.nii.gz", labels, template.affine)


def test_an_atlas_follows_to_the_scan_and_back(
    register: Callable, fresh_weights: Path, small_template: Path, shifted: Path, atlas: Path, tmp_path: Path
) -> None:
    motion = np.eye(4)
    motion[:3, 3] = SHIFT
    save_affine(tmp_path / "init.mat", motion)
    out = tmp_path / "out"
    metrics = register("mni152", shifted, out, init=str(tmp_path / "init.mat"), weights=fresh_weights)
    digest = hashlib.sha256(small_template.read_bytes()).hexdigest()
    assert metrics["fingerprint"]["fixed image"] == metrics["fixed"]["sha256"] == digest
    assert (metrics["fixed"]["template"], metrics["fixed"]["path"]) == (NAME, str(small_template))
    assert "template" not in metrics["moving"]
    page = re.sub(r"<.*?>", "", (out / "report.html").read_text())
    assert f"inverse_warp.nii.gz brings images and label maps of {NAME} (fixed) onto subject (moving): use it" in page

    there, back = tmp_path / "there.nii.gz", tmp_path / "back.nii.gz"
    for words in (
        ["--transform", out / "inverse_warp.nii.gz", "--input", atlas, "--reference", shifted, "--output", there],
        ["--transform", out / "warp.nii.gz", "--input", there, "--reference", "mni152", "--output", back],
    ):
        assert main(["apply", *map(str, words)]) == 0
    labels = np.asarray(nib.load(atlas).dataobj)
    for path, grid in ((there, shifted), (back, small_template)):
        moved = nib.load(path)
        np.testing.assert_array_equal(moved.dataobj, labels)
        np.testing.assert_allclose(moved.affine, nib.load(grid).affine, atol=1e-5)


def test_the_template_can_be_the_moving_image(
    register: Callable, small_template: Path, shifted: Path, tmp_path: Path
) -> None:
    metrics = register(shifted, "mni152", tmp_path / "out", init="rigid")
    assert (metrics["moving"]["template"], metrics["moving"]["path"]) == (NAME, str(small_template))
    page = re.sub(r"<.*?>", "", (tmp_path / "out" / "report.html").read_text())
    assert f"\nwarp.nii.gz brings images and label maps of {NAME} (moving) onto subject (fixed): use it" in page


@pytest.mark.usefixtures("tiny_config", "keep_any_deformation")
def test_the_name_does_the_same_from_python(
    small_template: Path, shifted: Path, atlas: Path, random_network: MSFBNet
) -> None:
    options = {"network": random_network, "init": "rigid", "device": "cpu"}
    named, given = (register_in_python(fixed, shifted, **options) for fixed in ("mni152", small_template))
    assert named.metrics["fixed"] == given.metrics["fixed"]
    np.testing.assert_array_equal(named.warp.displacement, given.warp.displacement)
    there = apply_in_python(named, atlas, inverse=True)
    assert there.shape == nib.load(shifted).shape
    back = apply_in_python(named, there, "mni152")
    np.testing.assert_array_equal(back.affine, nib.load(small_template).affine)
