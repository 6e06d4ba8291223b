# SPDX-License-Identifier: Apache-2.0
"""apply(): images, labels and series moved by a result, a transform or several files."""

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from scripts.api import Result, apply
from scripts.geometry import Affine, Chain
from scripts.io import read_transform, save_affine, save_itk_field
from tests.api.examples import AFFINE, MOVING_AFFINE, MOVING_SIZE, SIZE, labels_of, voxels

pytestmark = pytest.mark.usefixtures("keep_any_deformation", "tiny_config")


def test_without_a_reference_the_transform_has_its_own_grid(pair: SimpleNamespace, result: Result) -> None:
    moved = apply(result, pair.moving)
    assert moved.shape == SIZE
    np.testing.assert_allclose(moved.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(moved.dataobj, voxels(apply(result, pair.paths[1], pair.paths[0])))
    np.testing.assert_allclose(voxels(moved), voxels(result.moved), atol=0.51)  # rounded to the input's int16


def test_the_inverse_is_on_the_moving_grid_and_brings_back(pair: SimpleNamespace, result: Result) -> None:
    back = apply(result, pair.fixed, inverse=True)
    assert back.shape == MOVING_SIZE
    np.testing.assert_allclose(back.affine, MOVING_AFFINE, atol=1e-6)
    again = voxels(apply(result, back)).astype(float)
    core = pair.fixed[0] > 500
    assert np.median(np.abs(again - pair.fixed[0])[core]) < 20 < np.median(np.abs(voxels(back)[voxels(back) > 500]))


def test_a_transform_is_inverted_where_a_result_has_its_inverse(pair: SimpleNamespace, result: Result) -> None:
    expected = voxels(apply(result, pair.fixed, inverse=True)).astype(float)
    moved = voxels(apply(result.warp, pair.fixed, pair.moving, inverse=True)).astype(float)
    assert np.median(np.abs(moved - expected)) < 2


def test_labels_keep_their_values_and_type(result: Result, pair: SimpleNamespace) -> None:
    for dtype in (np.uint8, np.int64, np.float32):
        labels = labels_of(pair.moving[0]).astype(dtype) * 7
        moved = apply(result, (labels, MOVING_AFFINE))
        assert moved.get_data_dtype() == dtype
        assert set(np.unique(voxels(moved))) == {0, 7, 14, 21}
    inside = apply(result, (pair.moving[0] > 0, MOVING_AFFINE), interpolation="nearest")
    assert set(np.unique(voxels(inside))) == {0, 1}
    assert inside.get_data_dtype() == np.uint8


def test_a_series_is_moved_volume_by_volume_and_keeps_its_time_step(result: Result, pair: SimpleNamespace) -> None:
    volumes = [pair.moving[0].astype(np.float32), pair.moving[0][:, ::-1].astype(np.float32)]
    series = nib.Nifti1Image(np.stack(volumes, axis=-1), MOVING_AFFINE)
    series.header.set_zooms((*series.header.get_zooms()[:3], 2.5))
    series.header.set_xyzt_units("mm", "sec")
    moved = apply(result, series)
    assert moved.shape == (*SIZE, 2)
    assert moved.header.get_zooms()[3] == 2.5 and moved.header.get_xyzt_units() == ("mm", "sec")
    for number, volume in enumerate(volumes):
        np.testing.assert_array_equal(voxels(moved)[..., number], voxels(apply(result, (volume, MOVING_AFFINE))))


def test_the_first_of_several_files_is_applied_first(result: Result, pair: SimpleNamespace, tmp_path: Path) -> None:
    matrix = np.diag([1.2, 1.0, 0.9, 1.0])
    save_itk_field(tmp_path / "warp.nii.gz", result.warp.displacement, AFFINE)
    save_affine(tmp_path / "scale.mat", matrix)
    moved = apply([tmp_path / "warp.nii.gz", tmp_path / "scale.mat"], pair.moving, pair.fixed)
    chain = Chain([Affine(matrix), read_transform(tmp_path / "warp.nii.gz")])
    np.testing.assert_array_equal(voxels(moved), voxels(apply(chain, pair.moving, pair.fixed)))
    assert (voxels(moved) != voxels(apply(result, pair.moving))).any()
