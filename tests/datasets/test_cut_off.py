# SPDX-License-Identifier: Apache-2.0
"""Scans that are cut off are told by the foreground at the border of the volume, however they are stored."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

from scripts.datasets import find_cuts, foreground, looks_skull_stripped
from scripts.io import read_scan
from scripts.registration import ImageSources, Job, read_pair

SPACING = 2.0  # mm
CENTER, RADIUS = 40, 32  # voxels of 2 mm: a ball of 64 mm, in RAS
SIDES = {"right side": (0, 1), "left side": (0, 0), "front": (1, 1), "back": (1, 0), "top": (2, 1), "bottom": (2, 0)}


def ball() -> NDArray[np.float32]:
    distance = np.linalg.norm(np.indices((81, 81, 81)) - CENTER, axis=0)
    return np.where(distance <= RADIUS, 100 + np.random.default_rng(0).normal(scale=5, size=distance.shape), 0)


def without(values: NDArray, side: str, voxels: int) -> NDArray:
    """The scan without the outer voxels of the ball on a side."""
    axis, end = SIDES[side]
    part = slice(None, CENTER + RADIUS + 1 - voxels) if end else slice(CENTER - RADIUS + voxels, None)
    return values[tuple(part if along == axis else slice(None) for along in range(3))]


def stored(values: NDArray, codes: str) -> tuple[NDArray, NDArray]:
    """A scan in RAS as it is stored in another orientation, and its affine."""
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    affine = np.diag([SPACING, SPACING, SPACING, 1.0]) @ inv_ornt_aff(change, values.shape)
    return nib.orientations.apply_orientation(values, change), affine


def sides(array: NDArray, affine: NDArray, inside: NDArray, stripped: bool = True) -> dict[str, float]:
    return {cut.side: cut.area for cut in find_cuts(array, affine, inside, stripped)}


def found(values: NDArray, codes: str = "RAS", stripped: bool = True) -> dict[str, float]:
    array, affine = stored(values, codes)
    return sides(array, affine, foreground(array), stripped)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("codes", ["RAS", "LPI", "ASR"])
def test_side_and_area_are_told_in_any_orientation(side: str, codes: str) -> None:
    # Cut 15 voxels below the pole, the radius is sqrt(32² - 17²) = 27.1 voxels of 2 mm: 92 cm².
    assert found(without(ball(), side, 15), codes) == {side: pytest.approx(92, rel=0.1)}


def test_two_cuts_are_two() -> None:
    slab = without(without(ball(), "top", 26), "bottom", 26)
    assert set(found(slab)) == {"top", "bottom"}


def test_what_was_padded_afterwards_hides_no_cut() -> None:
    assert set(found(np.pad(without(ball(), "top", 15), 9))) == {"top"}


def test_a_whole_brain_is_not_cut_off_however_tightly_it_is_cropped() -> None:
    tight = tuple(slice(CENTER - RADIUS, CENTER + RADIUS + 1) for _ in range(3))
    assert found(ball()) == found(ball()[tight]) == {}


def test_a_cut_brain_stem_is_normal() -> None:
    stem = ball()
    stem[36:45, 36:45, : CENTER - RADIUS + 3] = 100  # 18 mm wide: 3 cm²
    assert found(stem) == {}


def test_a_neck_is_normal_and_a_missing_crown_is_not() -> None:
    head = ball()
    head[20:61, 20:61, :CENTER] = 100  # 82 mm wide: 67 cm²
    assert found(head, stripped=False) == {}
    assert set(found(without(head, "top", 25), stripped=False)) == {"top"}
    assert set(found(head)) == {"bottom"}


def test_of_a_masked_scan_the_masked_part_counts() -> None:
    array, affine = stored(without(ball(), "top", 15), "RAS")
    mask = np.zeros(array.shape, bool)
    mask[:, :, :-4] = True
    assert set(sides(array, affine, foreground(array))) == {"top"}
    assert sides(array, affine, foreground(array, mask)) == {}


def test_a_registration_is_warned_of_it(tmp_path: Path) -> None:
    paths = []
    for name, values in (("whole", ball()), ("cut", without(ball(), "front", 15))):
        array, affine = stored(values, "LAS")
        paths.append(tmp_path / f"{name}.nii.gz")
        nib.Nifti1Image(array.astype(np.int16), affine).to_filename(paths[-1])
    fixed, moving = (ImageSources(image=path) for path in paths)
    pair = read_pair(Job(name="pair", folder="out", fixed=fixed, moving=moving))
    assert not any("cut off" in warning for warning in pair.fixed.warnings)
    (warning,) = (warning for warning in pair.moving.warnings if "cut off" in warning)
    assert warning.startswith("cut off at its front, where 9")


# --- real scans -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person", ["1010", "1101"])
@pytest.mark.parametrize(
    ("axis", "end", "side"), [(2, 1, "top"), (2, 0, "bottom"), (1, 1, "front"), (1, 0, "back"), (0, 1, "right side")]
)
@pytest.mark.parametrize("millimeters", [10, 30])
def test_brain_is_told_from_a_brain_that_is_cut_off(
    shared_data: Path, person: str, axis: int, end: int, side: str, millimeters: int
) -> None:
    scan = read_scan(shared_data / "oasis35" / "imagesTr" / f"OASIS_{person}_0000.nii.gz")
    along = np.argwhere(scan.array > 0)[:, axis]
    part = slice(None, along.max() + 1 - millimeters) if end else slice(along.min() + millimeters, None)
    cut = scan.array[tuple(part if n == axis else slice(None) for n in range(3))]
    assert looks_skull_stripped(cut, scan.affine)
    assert sides(scan.array, scan.affine, foreground(scan.array)) == {}
    assert set(sides(cut, scan.affine, foreground(cut))) == {side}
