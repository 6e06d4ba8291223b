# SPDX-License-Identifier: Apache-2.0
"""The numbers of a file: whole or not at all, the right volume, finite."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.io.voxels import read_voxels, share_of_equal_neighbors
from scripts.runtime.errors import InputError

Save = Callable[..., Path]
Noise = Callable[..., np.ndarray]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_by_the_checksum(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def one_bit(path: Path) -> None:
    """Damage that may unpack to the right length: only the checksum tells."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)


def cut_inside(path: Path) -> None:
    """An intact gzip file around half an image."""
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[: len(raw) // 2]))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("scan.nii", cut),
        *((name, damage) for name in ("scan.nii.gz", "scan.mgz") for damage in (cut, cut_by_the_checksum, one_bit)),
        *((name, cut_inside) for name in ("scan.nii.gz", "scan.mgz")),
    ],
)
def test_damaged_file_is_refused(save: Save, noise: Noise, name: str, damage: Callable[[Path], None]) -> None:
    path = save(name, noise(20, 20, 20))
    image = nib.load(path)
    damage(path)
    with pytest.raises(InputError) as caught:
        read_voxels(image, path)
    assert str(caught.value).startswith(f"{path}: the file is damaged or cut short")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["u1", "i2", ">i2", "i4", "u4", "i8", "f4", ">f4", "f8"])
def test_every_kind_of_number_is_read_as_it_is(save: Save, kind: str) -> None:
    array = np.arange(210, dtype=kind).reshape(5, 6, 7)
    path = save("scan.nii.gz", array)
    stored = read_voxels(nib.load(path), path)
    assert stored.dtype == np.dtype(kind).newbyteorder("=")
    assert stored.dtype.isnative
    assert stored.flags.c_contiguous and stored.flags.writeable
    np.testing.assert_array_equal(stored, array)
    as_float = read_voxels(nib.load(path), path, np.float32)
    assert as_float.dtype == np.float32
    np.testing.assert_array_equal(as_float, array)


def test_slope_and_intercept_are_applied_to_every_volume(save: Save) -> None:
    array = np.arange(420, dtype=np.int16).reshape(5, 6, 7, 2)
    path = save("scan.nii", array, scl_slope=0.5, scl_inter=10)
    for volume in (0, 1):
        values = read_voxels(nib.load(path), path, np.float32, volume)
        np.testing.assert_array_equal(values, array[..., volume] * 0.5 + 10)


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.mgz"])
def test_the_asked_for_volume_is_read(save: Save, noise: Noise, name: str) -> None:
    array = noise(5, 6, 7, 3)
    path = save(name, array)
    for volume in range(3):
        np.testing.assert_array_equal(read_voxels(nib.load(path), path, volume=volume), array[..., volume])


def test_volumes_of_five_dimensions_are_counted_as_nifti_stores_them(save: Save, noise: Noise) -> None:
    array = noise(5, 6, 7, 2, 3)
    path = save("scan.nii", array)
    np.testing.assert_array_equal(read_voxels(nib.load(path), path, volume=3), array[..., 1, 1])


@pytest.mark.parametrize("volume", [None, 0, 9])
@pytest.mark.parametrize("size", [(5, 6, 7), (5, 6, 7, 1), (5, 6, 7, 1, 1)])
def test_single_volume_needs_no_choice(save: Save, noise: Noise, size: tuple[int, ...], volume: int | None) -> None:
    path = save("scan.nii.gz", noise(*size))
    np.testing.assert_array_equal(read_voxels(nib.load(path), path, volume=volume), noise(*size).reshape(5, 6, 7))


@pytest.mark.parametrize(
    ("volume", "said"), [(None, "4-D with several volumes"), (3, "no volume 3"), (-1, "no volume -1")]
)
def test_choice_of_a_volume_is_asked_for(save: Save, noise: Noise, volume: int | None, said: str) -> None:
    path = save("scan.nii.gz", noise(5, 6, 7, 3))
    with pytest.raises(InputError) as caught:
        read_voxels(nib.load(path), path, volume=volume)
    assert said in str(caught.value)
    assert str(caught.value).endswith("(5x6x7x3); choose one of the 3 with --volume N, 0 to 2")


def test_what_float32_cannot_hold_counts_as_infinite(save: Save, noise: Noise) -> None:
    array = noise(5, 6, 7).astype(np.float64)
    array[2, 2, 2] = 1e300
    path = save("scan.nii", array)
    assert np.isinf(read_voxels(nib.load(path), path, np.float32)).sum() == 1


def test_neighbors_of_labels_are_equal_and_those_of_images_are_not(noise: Noise) -> None:
    labels = np.zeros((20, 20, 20), np.int32)
    labels[4:16, 4:16, 4:10], labels[4:16, 4:16, 10:16] = 2035, 7
    assert share_of_equal_neighbors(labels) == pytest.approx(10 / 11)
    assert share_of_equal_neighbors(noise(20, 20, 20)) == 0
    assert share_of_equal_neighbors(np.zeros((5, 5, 5))) == 0
