# SPDX-License-Identifier: Apache-2.0
"""The template by name: what the word stands for, and what nilearn's files are."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.datasets import looks_skull_stripped
from scripts.io import image_path, read_scan, scan_name
from scripts.io.scans import header_facts
from scripts.io.template import template_file, template_name

NAME = "MNI152NLin2009aSym"


def test_the_word_stands_for_the_file_whatever_lies_in_the_folder(
    small_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert image_path("mni152") == str(small_template)
    (tmp_path / "mni152").mkdir()
    assert image_path("mni152") == str(small_template)


@pytest.mark.parametrize("other", ["./mni152", Path("mni152"), "mni152.nii.gz", "MNI152", "", None, (np.eye(3), 1)])
@pytest.mark.usefixtures("small_template")
def test_any_other_image_stays_as_it_is(other: object) -> None:
    assert image_path(other) is other


def test_the_template_is_known_by_its_file_and_not_by_the_name_of_a_file(small_template: Path, tmp_path: Path) -> None:
    link, copy = tmp_path / "link.nii.gz", tmp_path / small_template.name
    link.symlink_to(small_template)
    shutil.copy(small_template, copy)
    assert template_name(small_template) == template_name(link) == scan_name(small_template) == NAME
    assert header_facts(read_scan(small_template))["template"] == NAME
    assert template_name(copy) is None
    assert scan_name(copy) == "mni_icbm152_t1_tal_nlin_sym_09a_converted"
    assert "template" not in header_facts(read_scan(copy))


def test_without_nilearn_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, refused: Callable) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with refused("mni152", "nilearn", "pip install '.[template]'"):
        image_path("mni152")
    assert template_name("a.nii.gz") is None


def test_a_nilearn_without_the_file_is_refused(small_template: Path, refused: Callable) -> None:
    small_template.unlink()
    with refused(str(small_template), "version of nilearn"):
        image_path("mni152")


def test_files_of_nilearn_are_the_symmetric_template_without_a_skull() -> None:
    nilearn = pytest.importorskip("nilearn.datasets", reason="the template comes with nilearn")
    scan = read_scan(image_path("mni152"))
    assert scan.warnings == ()
    np.testing.assert_array_equal(scan.grid.spacing, 1)
    assert scan.grid.orientation == "RAS"
    np.testing.assert_array_equal(scan.array, scan.array[::-1])  # a symmetric brain, whose plane lies at x = 0
    assert scan.affine[0, 3] == -(scan.array.shape[0] - 1) / 2
    assert looks_skull_stripped(scan.array, scan.affine)
    theirs = nilearn.load_mni152_template(resolution=1)
    np.testing.assert_allclose(scan.array / scan.array.max(), theirs.get_fdata(), atol=1e-6)
    np.testing.assert_array_equal(scan.affine, theirs.affine)
    for kind in ("gm", "wm"):
        image = nib.load(template_file(kind))
        assert image.shape == scan.array.shape
        np.testing.assert_array_equal(image.affine, scan.affine)
