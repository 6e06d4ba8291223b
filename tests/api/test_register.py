# SPDX-License-Identifier: Apache-2.0
"""register(): any form of the images, what belongs to them, and what the result holds."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from scripts import api
from scripts.api import Result, register
from scripts.geometry import Affine
from scripts.io import save_affine
from scripts.networks import MSFBNet
from tests.api.examples import AFFINE, MOVING_AFFINE, MOVING_SIZE, ON_CPU, SIZE, labels_of, voxels

pytestmark = pytest.mark.usefixtures("keep_any_deformation", "tiny_config")


@pytest.mark.parametrize("form", ["text", "opened", "in memory", "array", "big endian array"])
def test_any_form_of_the_images_gives_the_same_warps_bit_for_bit(
    form: str, pair: SimpleNamespace, result: Result, random_network: MSFBNet
) -> None:
    def in_form(path: Path, scan: tuple) -> api.Image:
        array, affine = scan
        forms = {
            "text": lambda: str(path),
            "opened": lambda: nib.load(path),
            "in memory": lambda: nib.Nifti1Image(array, affine),
            "array": lambda: (array, affine),
            "big endian array": lambda: (np.asfortranarray(array.astype(">f8")), affine.tolist()),
        }
        return forms[form]()

    images = [in_form(*both) for both in zip(pair.paths, (pair.fixed, pair.moving), strict=True)]
    other = register(*images, network=random_network, **ON_CPU)
    for field, expected in ((other.warp, result.warp), (other.inverse_warp, result.inverse_warp)):
        np.testing.assert_array_equal(field.displacement, expected.displacement)
        np.testing.assert_array_equal(field.affine, expected.affine)
    assert np.abs(result.warp.displacement).max() > 1  # the network moves things
    np.testing.assert_array_equal(voxels(other.moved), voxels(result.moved))


def test_masks_labels_and_landmarks_reach_the_metrics(
    pair: SimpleNamespace, result: Result, random_network: MSFBNet, tmp_path: Path
) -> None:
    inside = pair.fixed[0] > 0
    inside[: SIZE[0] // 2] = False
    points = Affine(AFFINE)(np.argwhere(inside)[::500].astype(np.float64))
    ends = result.warp(points) + np.array([0, 3, 4])
    starts = tmp_path / "points.csv"
    np.savetxt(starts, points, delimiter=",", header="x_ras_mm,y_ras_mm,z_ras_mm", comments="", fmt="%.9f")
    extras = {
        "fixed_label": (labels_of(pair.fixed[0]).astype(np.int64), AFFINE),
        "moving_label": nib.Nifti1Image(labels_of(pair.moving[0]), MOVING_AFFINE),
        "fixed_landmarks": starts,
        "moving_landmarks": ends,
    }
    metrics = register(*pair.paths, network=random_network, **extras, **ON_CPU).metrics
    # The field on the fixed image's grid and the one on the network's agree to some hundredths of a mm.
    assert metrics["tre"] == pytest.approx(5, abs=0.1)
    assert metrics["tre_before"] == pytest.approx(np.linalg.norm(points - ends, axis=1).mean(), abs=1e-4)
    assert 0 < metrics["dice"] < 1 and metrics["hd95"] > 0
    assert not {"dice", "tre"} & result.metrics.keys()

    masked = register(*pair.paths, network=random_network, fixed_mask=(inside, AFFINE), **ON_CPU)
    assert masked.metrics["foreground_dice_before"] < result.metrics["foreground_dice_before"]
    assert masked.registration.fixed.mask is not None and masked.registration.fixed.mask.dtype == bool
    np.testing.assert_array_equal(masked.registration.fixed.mask, inside)


def test_a_matrix_is_where_the_registration_starts(
    pair: SimpleNamespace, result: Result, random_network: MSFBNet, tmp_path: Path
) -> None:
    matrix = np.array([[1.0, 0.05, 0, 2], [-0.05, 1, 0, -1], [0, 0, 1.1, 3], [0, 0, 0, 1]])
    save_affine(tmp_path / "init.mat", matrix)
    given = {"network": random_network, "device": "cpu"}
    started = register(*pair.paths, init=matrix, **given)
    np.testing.assert_array_equal(started.affine, matrix)
    assert started.metrics["settings"]["init"] == matrix.tolist()
    assert np.abs(started.warp.displacement - result.warp.displacement).max() > 1
    read = register(*pair.paths, init=tmp_path / "init.mat", **given)
    np.testing.assert_allclose(read.warp.displacement, started.warp.displacement, atol=1e-4)
    same = register(*pair.paths, init=np.eye(4), **given)
    np.testing.assert_array_equal(same.warp.displacement, result.warp.displacement)


def test_a_volume_of_a_series_is_registered(
    pair: SimpleNamespace, result: Result, random_network: MSFBNet, save_scan: Callable
) -> None:
    series = np.stack([pair.moving[0][::-1], pair.moving[0]], axis=-1)
    other = register(pair.paths[0], (series, MOVING_AFFINE), volume=1, network=random_network, **ON_CPU)
    np.testing.assert_array_equal(other.warp.displacement, result.warp.displacement)


def test_refinement_makes_the_images_more_similar(
    pair: SimpleNamespace, result: Result, random_network: MSFBNet
) -> None:
    refined = register(*pair.paths, network=random_network, refine=4, **ON_CPU)
    assert refined.metrics["refinement"]["steps"] == 4
    assert refined.metrics["lncc"] > result.metrics["lncc"]


def test_moved_shows_what_lies_where_the_warp_leads(pair: SimpleNamespace, result: Result) -> None:
    moved = result.moved
    np.testing.assert_allclose(moved.affine, AFFINE, atol=1e-6)
    assert moved.shape == SIZE and moved.get_data_dtype() == np.float32
    index = np.argwhere(pair.fixed[0] > 300)[::50]
    ends = result.warp(Affine(AFFINE)(index.astype(np.float64)))
    there = map_coordinates(pair.moving[0].astype(float), Affine(MOVING_AFFINE).inverse()(ends).T, order=1)
    np.testing.assert_allclose(voxels(moved)[tuple(index.T)], there, atol=0.5)
    assert there.std() > 50


def test_the_inverse_warp_leads_back(pair: SimpleNamespace, result: Result) -> None:
    assert result.inverse_warp.grid.shape == MOVING_SIZE
    points = Affine(AFFINE)(np.argwhere(pair.fixed[0] > 300)[::50].astype(np.float64))
    distances = np.linalg.norm(result.inverse_warp(result.warp(points)) - points, axis=1)
    assert np.median(distances) < 0.1 < np.median(np.linalg.norm(result.warp(points) - points, axis=1))


def test_verdict_and_reasons_are_those_of_the_metrics(result: Result) -> None:
    assert result.verdict in ("pass", "look", "fail")
    assert result.metrics["verdict"] == result.verdict
    assert list(result.reasons) == result.metrics["reasons"]
    assert bool(result.reasons) == (result.verdict != "pass")
