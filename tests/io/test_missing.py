# SPDX-License-Identifier: Apache-2.0
"""NaN and infinite values: background around what an image shows, an error inside it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.geometry import Grid
from scripts.io import read_scan, read_scan_and_mask
from scripts.io.missing import fill_missing
from scripts.runtime import InputError

SIZE = (30, 36, 28)
NAN, INF = np.nan, np.inf


def grid(spacing: float = 1.0) -> Grid:
    return Grid(SIZE, np.diag([-spacing, spacing, spacing, 1]))


def depth() -> np.ndarray:
    """Voxels from the surface of an ellipsoid inwards, below 0 outside; 12 at the center."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SIZE], indexing="ij")
    return 12 * (1 - np.sqrt(sum(axis**2 for axis in axes)) / 0.85)


def brain() -> np.ndarray:
    """Values of 100 to 900 in the ellipsoid, 0 outside, float32."""
    values = np.random.default_rng(0).uniform(100, 900, SIZE).astype(np.float32)
    return np.where(depth() > 0, values, 0)


@pytest.mark.parametrize("missing", [NAN, INF, -INF])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_surrounds_a_brain_becomes_0(missing: float, kind: type) -> None:
    image = brain().astype(kind)
    found, (warning,) = fill_missing(np.where(depth() > 0, image, missing), "scan.nii", grid())
    np.testing.assert_array_equal(found, image)
    assert found.dtype == kind
    count = int((depth() <= 0).sum())
    share = f"{100 * count / image.size:.2g}"  # 66 %
    assert warning == f"{count} voxels ({share} %) around what it shows are NaN or infinite; taken as background (0)"


def test_background_is_0_also_within_the_range_of_a_z_scored_brain() -> None:
    scored = np.where(depth() > 0, (brain() - 500) / 230, NAN).astype(np.float32)
    found, _ = fill_missing(scored, "scan.nii", grid())
    assert (found[depth() <= 0] == 0).all()


def test_corner_that_was_never_scanned_is_as_dark_as_the_darkest_voxel() -> None:
    """A head with values from -800 on, of which turning has left a corner without a value."""
    head = brain() - 800
    head[:6, :6] = NAN
    found, _ = fill_missing(head, "scan.nii", grid())
    assert (found[:6, :6] == -800).all()


@pytest.mark.parametrize("missing", [NAN, INF])
def test_few_voxels_inside_are_replaced_with_a_warning(missing: float) -> None:
    image = brain()
    places = np.argwhere(depth() > 3)[::400]
    image[tuple(places.T)] = missing
    found, (warning,) = fill_missing(image, "scan.nii", grid())
    assert not found[tuple(places.T)].any()
    assert warning.startswith(f"{len(places)} voxels (")
    assert warning.endswith(" %) are NaN or infinite; replaced by 0")


def test_both_kinds_are_told_apart() -> None:
    image = np.where(depth() > 0, brain(), NAN)
    image[15, 18, 14] = NAN
    found, (outside, inside) = fill_missing(image, "scan.nii", grid())
    assert np.isfinite(found).all()
    assert "around what it shows" in outside
    assert inside == "1 voxels (0.0033 %) are NaN or infinite; replaced by 0"  # of 30 x 36 x 28


def test_hole_is_refused_with_its_size_and_place() -> None:
    image = np.where(depth() > 0, brain(), NAN)
    image[12:17, 15:20, 11:16] = NAN
    with pytest.raises(InputError) as caught:
        fill_missing(image, "scan.nii", grid(2.0))
    assert str(caught.value) == (
        # 125 voxels of 8 mm^3 around voxel (14, 17, 13), whose first axis runs to the left
        "scan.nii: 125 voxels (1 ml) inside what it shows are NaN or infinite, 125 of them in one place around voxel "
        "(14, 17, 13), RAS (-28, 34, 26) mm; give an image without holes"
    )


def test_size_of_a_hole_counts_in_mm() -> None:
    image = brain()
    image[12:15, 15:18, 11:14] = NAN  # 27 voxels
    fill_missing(image, "scan.nii", grid(1.0))  # 27 mm^3
    with pytest.raises(InputError, match=r"27 voxels \(0\.091 ml\)"):
        fill_missing(image, "scan.nii", grid(1.5))  # 91 mm^3


def test_many_small_holes_are_refused() -> None:
    image = brain()
    places = np.argwhere(depth() > 0)[::10]
    image[tuple(places.T)] = NAN  # every tenth voxel of a brain that fills a third
    with pytest.raises(InputError, match=f"{len(places)} voxels"):
        fill_missing(image, "scan.nii", grid())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("outside", [0.0, NAN])
def test_lost_slices_are_holes_although_they_reach_the_faces(axis: int, outside: float) -> None:
    image = np.where(depth() > 0, brain(), np.float32(outside))
    np.moveaxis(image, axis, 0)[13:15] = NAN
    with pytest.raises(InputError, match="inside what it shows"):
        fill_missing(image, "scan.nii", grid())


def test_speck_beside_a_brain_makes_no_gap() -> None:
    image = np.where(depth() > 0, brain(), NAN)
    image[0, 3, 3] = 200.0  # left over from skull-stripping; slices without a value lie between
    assert len(fill_missing(image, "scan.nii", grid())[1]) == 1


def test_nothing_but_nan_is_refused() -> None:
    with pytest.raises(InputError, match=r"scan\.nii: every voxel is NaN or infinite"):
        fill_missing(np.full(SIZE, NAN), "scan.nii", grid())


def test_numbers_pass_untouched() -> None:
    values = brain()
    found, warnings = fill_missing(values, "scan.nii", grid())
    assert found is values
    assert warnings == ()


# --- with a mask ------------------------------------------------------------------------------------------------------


def test_mask_says_what_is_outside() -> None:
    """A hole beside the brain, in the head, is none of the mask's."""
    image = brain()
    image[2:8, 16:22, 12:18] = NAN
    with pytest.raises(InputError, match="inside what it shows"):
        fill_missing(image, "scan.nii", grid())
    found, (warning,) = fill_missing(image, "scan.nii", grid(), depth() > 6)
    assert np.isfinite(found).all()
    assert "around what it shows" in warning


def test_mask_may_be_somewhat_larger_than_what_has_values() -> None:
    image = np.where(depth() > 1.5, brain(), NAN)
    assert len(fill_missing(image, "scan.nii", grid(), depth() > 0)[1]) == 1


def test_wedge_from_the_face_into_the_mask_is_refused() -> None:
    image = brain()
    image[:15, 14:22, 10:18] = NAN
    fill_missing(image, "scan.nii", grid())
    with pytest.raises(InputError, match="inside its mask"):
        fill_missing(image, "scan.nii", grid(), depth() > 0)


def test_mask_of_everything_says_nothing() -> None:
    image = np.where(depth() > 0, brain(), NAN)
    everywhere = np.ones(SIZE, bool)
    np.testing.assert_array_equal(fill_missing(image, "scan.nii", grid(), everywhere)[0], brain())


def test_files_are_read_by_this_rule(tmp_path: Path) -> None:
    image, mask = brain(), (depth() > 6).astype(np.uint8)
    image[14:18, 17:21, 3:6] = NAN  # 48 voxels of 8 mm^3, near the surface
    for name, array in (("scan", image), ("mask", mask)):
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 2, 1])), tmp_path / f"{name}.nii.gz")
    with pytest.raises(InputError, match=r"scan\.nii\.gz: 48 voxels .* inside what it shows"):
        read_scan(tmp_path / "scan.nii.gz")
    scan, found = read_scan_and_mask(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(found.array, mask > 0)
    assert np.isfinite(scan.array).all()
    assert "around what it shows" in scan.warnings[0]
