# SPDX-License-Identifier: Apache-2.0
"""--strip: where the brain of a scan is searched, what is done with it, and what is said where it cannot be found."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.io import read_scan
from scripts.registration import ImageSources, Job, LoadedImage, masks, read_pair, read_strip, steps
from scripts.registration.masks import find_brain
from scripts.runtime import InputError

LARGE = np.diag([8.0, 8.0, 8.0, 1.0])  # mm: the blob is as large as a head
SMALL = np.diag([5.0, 5.0, 5.0, 1.0])


@pytest.fixture
def read(blob: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LoadedImage]:
    """Read one scan; the middle half of it is what is found to be the brain, or nothing."""

    def run(
        affine: np.ndarray, strip: str, found: bool = True, finder: str | None = "finder 1.0", **files
    ) -> LoadedImage:
        array = blob((28, 33, 25))
        brain = np.zeros(array.shape, bool)
        brain[7:21, 8:25, 6:19] = True
        monkeypatch.setattr(steps, "find_brain", lambda image, grid: brain if found else None)
        for module in (steps, masks):
            monkeypatch.setattr(module, "brain_finder", lambda: finder)
        source = ImageSources(image=nib.Nifti1Image(array, affine), **files)
        return read_pair(Job(name="pair", folder="", fixed=source, moving=source), strip=strip).fixed

    return run


@pytest.mark.parametrize(
    ("affine", "strip", "is_masked"),
    [
        (LARGE, "auto", True),
        (SMALL, "auto", False),
        (LARGE, "yes", True),
        (SMALL, "yes", True),
        (LARGE, "no", False),
        (SMALL, "no", False),
    ],
)
def test_where_the_brain_is_searched(read: Callable, affine: np.ndarray, strip: str, is_masked: bool) -> None:
    image = read(affine, strip)
    assert image.shows_head == (affine is LARGE)
    assert image.warnings == ()
    assert image.mask_from == ("finder 1.0" if is_masked else None)
    if is_masked:
        assert np.count_nonzero(image.found_mask) == 14 * 17 * 13
        assert image.foreground.any() and not (image.foreground & ~image.mask).any()
    else:
        assert image.mask is None and image.found_mask is None


def test_a_given_mask_counts_and_nothing_is_searched(read: Callable) -> None:
    mask = nib.Nifti1Image(np.ones((28, 33, 25), np.uint8), LARGE)
    image = read(LARGE, "yes", mask=mask)
    assert image.mask.all() and image.found_mask is None


def test_head_without_a_brain_is_warned_of(read: Callable) -> None:
    image = read(LARGE, "auto", found=False)
    assert image.mask is None and image.mask_from is None
    assert image.warnings == ("finder 1.0 found no brain in it; give --fixed_mask",)


def test_without_the_extra_a_head_is_warned_of_with_the_command_that_installs_it(read: Callable) -> None:
    (warning,) = read(LARGE, "auto", finder=None).warnings
    assert "not skull-stripped" in warning and "pip install '.[strip]'" in warning and "--fixed_mask" in warning
    assert read(SMALL, "auto", finder=None).warnings == ()


@pytest.mark.parametrize(
    ("strip", "words"), [("yes", "needs deepbet, which is not installed: pip install"), ("maybe", "auto, yes, no")]
)
def test_what_cannot_be_done_is_one_line(strip: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "brain_finder", lambda: None)
    with pytest.raises(InputError, match=words) as caught:
        read_strip(strip)
    assert f"--strip {strip}" in str(caught.value)


@pytest.mark.slow
def test_brain_of_a_real_head_is_found(shared_data: Path) -> None:
    """FreeSurfer's own brain of the same head: deepbet and FreeSurfer agree by 0.976."""
    pytest.importorskip("deepbet")
    folder = shared_data / "aomic" / "sub-0001"
    scan = read_scan(folder / "T1.mgz")
    found = find_brain(scan.array, scan.grid)
    brain = np.asarray(nib.load(folder / "norm.mgz").dataobj) > 0
    assert 2 * np.count_nonzero(found & brain) / (np.count_nonzero(found) + np.count_nonzero(brain)) > 0.96


@pytest.mark.slow
def test_brain_of_thick_slices_is_found_in_either_contrast(shared_data: Path) -> None:
    """T1 and T2 of one person, slices of 3 and 4 mm: volumes within 5 %."""
    pytest.importorskip("deepbet")
    folder = shared_data / "contrasts" / "ms_raw"
    scans = [read_scan(folder / f"p01_study1_{name}.nii.gz") for name in ("T1W", "T2W")]
    volumes = [np.count_nonzero(find_brain(scan.array, scan.grid)) * scan.grid.voxel_volume / 1000 for scan in scans]
    assert min(volumes) > 1300 and max(volumes) < 1.05 * min(volumes)
