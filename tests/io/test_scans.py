# SPDX-License-Identifier: Apache-2.0
"""A scan as its file has it, or one line that says what is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.io.scans import header_facts, read_scan
from scripts.runtime.errors import InputError

Save = Callable[..., Path]
Noise = Callable[..., np.ndarray]


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.mgz"])
@pytest.mark.parametrize("kind", ["u1", "i2", "f4"])
def test_formats_and_types_load_alike(save: Save, las: np.ndarray, name: str, kind: str) -> None:
    array = np.arange(210, dtype=kind).reshape(5, 6, 7)
    scan = read_scan(str(save(name, array)))
    assert scan.array.dtype == np.float32
    np.testing.assert_array_equal(scan.array, array)
    assert scan.affine.dtype == np.float64
    np.testing.assert_allclose(scan.affine, las, atol=1e-5)
    assert (scan.dtype, scan.slope, scan.inter, scan.warnings) == (np.dtype(kind), 1.0, 0.0, ())
    assert scan.dtype.isnative


def test_what_is_needed_to_store_a_result_alike_is_kept(save: Save) -> None:
    array = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
    scan = read_scan(save("scan.nii", array, scl_slope=0.5, scl_inter=10))
    assert (scan.dtype, scan.slope, scan.inter) == (np.dtype("int16"), 0.5, 10.0)
    np.testing.assert_array_equal((scan.array - scan.inter) / scan.slope, array)


@pytest.mark.parametrize(("value", "kind"), [(0, "u1"), (7, "u1"), (-2.5, "f4")])
def test_constant_image_is_refused(save: Save, value: float, kind: str) -> None:
    with pytest.raises(InputError, match=f"every voxel is {value:g};"):
        read_scan(save("scan.nii.gz", np.full((8, 9, 10), value, dtype=kind)))


@pytest.mark.parametrize("slices", [2, 6])
def test_what_is_missing_at_a_face_is_background(save: Save, noise: Noise, slices: int) -> None:
    array = noise(8, 9, 10) + 1
    array[:slices] = np.inf
    scan = read_scan(save("scan.nii.gz", array))
    assert not scan.array[:slices].any()
    np.testing.assert_array_equal(scan.array[slices:], array[slices:])
    (warning,) = scan.warnings
    assert warning.startswith(f"{90 * slices} voxels ({12.5 * slices:.2g} %) around what it shows")


def test_volume_and_orientation_are_the_users_to_choose(save: Save, noise: Noise) -> None:
    path = save("series.nii", noise(8, 9, 10, 4), sform_code=0, qform_code=0)
    with pytest.raises(InputError, match="--assume_ras"):
        read_scan(path, volume=2)
    with pytest.raises(InputError, match="--volume N, 0 to 3"):
        read_scan(path, assume_ras=True)
    scan = read_scan(path, volume=2, assume_ras=True)
    np.testing.assert_array_equal(scan.array, noise(8, 9, 10, 4)[..., 2])
    assert nib.aff2axcodes(scan.affine) == ("R", "A", "S")
    assert scan.space == "assumed RAS"


def test_warnings_of_the_space_come_with_those_of_the_values(save: Save, noise: Noise, las: np.ndarray) -> None:
    array = noise(8, 9, 10)
    array[0, 0, 0] = np.nan
    space, values = read_scan(save("scan.nii", array, qform_code=1, qoffset_x=50)).warnings
    assert "qform" in space
    assert "NaN" in values


def test_label_map_given_as_an_image_is_told(save: Save) -> None:
    array = np.zeros((12, 12, 12), np.int16)
    array[2:10, 2:10, 2:6], array[2:10, 2:10, 6:10] = 1002, 2002
    (warning,) = read_scan(save("labels.nii.gz", array)).warnings
    assert "looks like a label map" in warning


def test_image_on_another_background_than_0_is_no_label_map(save: Save, noise: Noise) -> None:
    array = np.full((20, 20, 20), -1024, np.float32)
    array[6:14, 6:14, 6:14] = noise(8, 8, 8)
    assert read_scan(save("scan.nii.gz", array)).warnings == ()


def test_facts_are_those_of_the_file_and_fit_into_json(save: Save, noise: Noise) -> None:
    array = noise(8, 9, 10)
    array[0, 0, 0] = np.inf
    path = save("scan.nii.gz", array.astype(np.float64))
    facts = json.loads(json.dumps(header_facts(read_scan(path))))
    assert facts == {
        "path": str(path),
        "size": [8, 9, 10],
        "spacing_mm": [1.0, 1.2, 1.5],
        "orientation": "LAS",
        "dtype": "float64",
        "space": "sform (aligned)",
        "warnings": ["1 voxels (0.14 %) around what it shows are NaN or infinite; taken as background (0)"],
    }


def test_real_scans_are_read_without_a_warning(shared_data: Path) -> None:
    """Other people's headers: LAS, ASL, LIA; NIfTI and MGH."""
    files = [
        shared_data / "raw" / "1003_T1.nii.gz",
        shared_data / "landmarks" / "1003_T1.nii.gz",
        *sorted((shared_data / "aomic").glob("*/T1.mgz"))[:1],
    ]
    present = [file for file in files if file.is_file()]
    if not present:
        pytest.skip("no real scans")
    for file in present:
        scan = read_scan(file)
        assert scan.warnings == ()
        np.testing.assert_array_equal(scan.affine, nib.load(file).affine)
        np.testing.assert_array_equal(scan.array, np.asarray(nib.load(file).dataobj))
