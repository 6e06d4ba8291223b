# SPDX-License-Identifier: Apache-2.0
"""Label maps: every value exactly, on the grid of the image."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.io.labels import read_label, read_mask
from scripts.io.scans import read_scan
from scripts.runtime.errors import InputError

Save = Callable[..., Path]
Noise = Callable[..., np.ndarray]


@pytest.fixture
def blocks() -> np.ndarray:
    """Three labels in the middle, one of them 300, on (10, 12, 14)."""
    array = np.zeros((10, 12, 14), np.int16)
    array[2:8, 2:6, 2:12], array[2:8, 6:10, 2:7], array[2:8, 6:10, 7:12] = 1, 2, 300
    return array


@pytest.mark.parametrize(
    ("kind", "top", "wanted"),
    [
        ("u1", 255, np.int32),
        ("i2", 32767, np.int32),
        ("u2", 65535, np.int32),
        ("i4", 2**31 - 1, np.int32),
        ("u4", 2**32 - 1, np.uint32),
        ("i8", 2**32 - 1, np.uint32),
        ("f4", 2035, np.int32),
        ("f8", 2**32 - 1, np.uint32),
    ],
)
@pytest.mark.parametrize("name", ["labels.nii", "labels.nii.gz"])
def test_every_value_is_kept_exactly(
    save: Save, blocks: np.ndarray, name: str, kind: str, top: int, wanted: type
) -> None:
    array = np.array([0, 1, top - 1, top], dtype=kind)[np.searchsorted([0, 1, 2, 300], blocks)]
    label = read_label(save(name, array))
    assert label.array.dtype == wanted
    assert label.dtype == np.dtype(kind)
    np.testing.assert_array_equal(label.array, array)
    assert label.warnings == ()


def test_freesurfer_labels_are_kept_exactly(save: Save, blocks: np.ndarray) -> None:
    array = np.where(blocks == 300, np.int32(2**24 + 1), blocks)
    np.testing.assert_array_equal(read_label(save("aseg.mgz", array)).array, array)


def test_negative_and_scaled_labels_are_whole_numbers_too(save: Save, blocks: np.ndarray) -> None:
    path = save("labels.nii", (blocks - 1).astype(np.int16), scl_slope=2, scl_inter=0)
    np.testing.assert_array_equal(read_label(path).array, 2 * blocks.astype(int) - 2)


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (2.5, "f4", "whole numbers"),
        (2**32, "i8", "32 bits"),
        (-(2**31) - 1, "i8", "32 bits"),
        (2.0**32, "f8", "32 bits"),
        (2**64 - 1, "u8", "32 bits"),
    ],
)
def test_other_values_are_refused(save: Save, blocks: np.ndarray, value: float, kind: str, said: str) -> None:
    array = blocks.astype(kind)
    array[3, 3, 3] = value
    with pytest.raises(InputError, match=said):
        read_label(save("labels.nii.gz", array))


def test_image_of_fractions_is_no_label_map_and_no_mask(save: Save, noise: Noise) -> None:
    path = save("scan.nii.gz", noise(10, 12, 14))
    with pytest.raises(InputError, match="a label map holds whole numbers, this file does not"):
        read_label(path)
    with pytest.raises(InputError, match="a mask holds whole numbers"):
        read_mask(path, read_scan(path))


def test_image_of_whole_numbers_is_told(save: Save, noise: Noise) -> None:
    (warning,) = read_label(save("scan.nii.gz", (255 * noise(10, 12, 14)).astype(np.uint8))).warnings
    assert "looks like an image" in warning


def test_scattered_landmarks_are_a_label_map(save: Save) -> None:
    array = np.zeros((10, 12, 14), np.uint8)
    array[::3, ::3, ::3] = np.arange(1, 81).reshape(4, 4, 5)
    assert read_label(save("points.nii.gz", array)).warnings == ()


def test_empty_label_map_is_refused_but_a_full_one_is_fine(save: Save) -> None:
    with pytest.raises(InputError, match="the label map is empty: every voxel is 0"):
        read_label(save("zeros.nii.gz", np.zeros((6, 5, 7), np.uint8)))
    assert np.unique(read_label(save("ones.nii.gz", np.ones((6, 5, 7), np.uint8))).array).tolist() == [1]


def test_label_where_the_file_has_none_is_background(save: Save, blocks: np.ndarray) -> None:
    array = blocks.astype(np.float32)
    array[blocks == 0] = np.nan
    array[blocks == 1] = -1
    label = read_label(save("labels.nii.gz", array))
    np.testing.assert_array_equal(label.array, np.where(blocks == 1, -1, blocks))
    assert label.warnings == ("1200 voxels (71 %) are NaN or infinite; taken as 0, no label",)


# --- the image's grid -----------------------------------------------------------------------------------------------


@pytest.fixture
def scan(save: Save, noise: Noise) -> object:
    return read_scan(save("scan.nii.gz", noise(10, 12, 14)))


def test_labels_on_the_grid_stay_as_they_are(save: Save, blocks: np.ndarray, las: np.ndarray, scan: object) -> None:
    las[0, 3] += 1e-3  # what writing by other programs may change
    label = read_label(save("labels.nii.gz", blocks, las), scan)
    np.testing.assert_array_equal(label.array, blocks)
    np.testing.assert_array_equal(label.affine, scan.affine)
    assert label.warnings == ()


def test_labels_in_another_orientation_come_back_onto_the_grid(
    save: Save, blocks: np.ndarray, las: np.ndarray, scan: object
) -> None:
    image = nib.Nifti1Image(blocks, las).as_reoriented([[1, 1], [2, -1], [0, 1]]).slicer[1:-1, :, 1:]
    assert image.shape == (12, 10, 11)
    label = read_label(save("labels.nii.gz", np.asarray(image.dataobj), image.affine), scan)
    np.testing.assert_array_equal(label.array, blocks)
    np.testing.assert_array_equal(label.affine, scan.affine)
    assert label.dtype == np.int16
    (warning,) = label.warnings
    assert warning.startswith("label map labels.nii.gz: not on the grid of its image")
    assert "resampled" in warning


def test_every_label_lands_on_its_place_in_the_world(
    save: Save, blocks: np.ndarray, las: np.ndarray, scan: object
) -> None:
    large = np.where(blocks == 300, np.uint32(2**32 - 1), blocks.astype(np.uint32))
    fine = large
    for axis in range(3):
        fine = fine.repeat(3, axis)
    affine = las @ np.diag([1 / 3, 1 / 3, 1 / 3, 1]) @ nib.affines.from_matvec(np.eye(3), [-1, -1, -1])
    label = read_label(save("labels.nii.gz", fine, affine), scan)
    np.testing.assert_array_equal(label.array, large)
    assert label.array.dtype == np.uint32
    assert "30x36x42 voxels" in label.warnings[0]


@pytest.mark.parametrize("read", [read_label, read_mask])
def test_labels_that_do_not_overlap_are_refused(
    save: Save, blocks: np.ndarray, las: np.ndarray, scan: object, read: Callable
) -> None:
    las[:3, 3] += 100
    path = save("labels.nii.gz", blocks, las)
    with pytest.raises(InputError, match="does not overlap with its image") as caught:
        read(path, scan)
    assert str(caught.value).startswith(f"{path}: ")
    assert scan.path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mask_is_where_any_label_is(save: Save, blocks: np.ndarray, las: np.ndarray, scan: object) -> None:
    mask = read_mask(save("mask.nii.gz", blocks), scan)
    assert mask.array.dtype == bool
    np.testing.assert_array_equal(mask.array, blocks > 0)
    las[2, 3] += 1.5
    mask = read_mask(save("mask.nii.gz", blocks, las), scan)
    np.testing.assert_array_equal(mask.array[:, :, 1:], blocks[:, :, :-1] > 0)
    assert mask.warnings[0].startswith("mask mask.nii.gz: not on the grid")


def test_labels_without_forms_need_the_assumption(save: Save, blocks: np.ndarray) -> None:
    path = save("labels.nii", blocks, sform_code=0)
    with pytest.raises(InputError, match="--assume_ras"):
        read_label(path)
    assert read_label(path, assume_ras=True).space == "assumed RAS"
