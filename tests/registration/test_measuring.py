# SPDX-License-Identifier: Apache-2.0
"""The figures of a registration, against those worked out by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from nibabel.affines import from_matvec
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Affine, Field
from scripts.io.scans import Scan
from scripts.registration.measuring import describe_affine, inverse_consistency, label_overlap, landmark_error, measure
from scripts.registration.pair import ImageSources, Job, LoadedImage, Registration

SIZE = (8, 9, 10)
SHIFT = from_matvec(np.eye(3), [2.0, 0, 0])


def scan(array: NDArray, affine: NDArray | None = None) -> Scan:
    matrix = np.eye(4) if affine is None else affine
    return Scan("image.nii", array, matrix, np.dtype(np.float32), 1.0, 0.0, "sform (scanner)", ())


def loaded(array: NDArray, affine: NDArray | None = None, **known: Any) -> LoadedImage:
    return LoadedImage(scan=scan(array, affine), foreground=array > 0, **known)


def registered(**known: Any) -> Registration:
    """A registration of a cube with itself, by a field of zeros; `known` replaces parts of it."""
    image = np.zeros(SIZE, np.float32)
    image[2:6, 2:7, 2:8] = np.random.default_rng(0).uniform(0.3, 1, (4, 5, 6))
    still = Field(np.zeros((*SIZE, 3), np.float32), np.eye(4))
    files = ImageSources(image="image.nii")
    parts = {
        "job": Job(name="pair", folder="out", fixed=files, moving=files),
        "fixed": loaded(image),
        "moving": loaded(image),
        "timings": {},
        "affine": np.eye(4),
        "grid": Grid(SIZE, np.eye(4)),
        "image": np.stack([image, image]),
        "foregrounds": np.stack([image > 0, image > 0]),
        "inputs": (np.stack([image, image]),),
        "field": torch.zeros(3, *SIZE),
        "device": "cpu",
        "deformation": still,
        "warp": still,
    }
    return Registration(**{**parts, **known})


def slab(value: int, start: int, stop: int, dtype: type = np.int32) -> NDArray:
    """A label map that is `value` for these places along the first axis."""
    label = np.zeros(SIZE, dtype)
    label[start:stop] = value
    return label


def overlap_of(
    fixed: NDArray,
    moving: NDArray,
    labels: list[int] | None = None,
    affine: NDArray | None = None,
    fixed_affine: NDArray | None = None,
) -> dict[str, float]:
    """Of two label maps: `before` by this affine, and after as they lie."""
    registration = registered(
        fixed=loaded(np.zeros(fixed.shape, np.float32), fixed_affine, label=fixed),
        moving=loaded(np.zeros(moving.shape, np.float32), label=moving),
        affine=np.eye(4) if affine is None else affine,
    )
    return label_overlap(registration, labels)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 2**24 + 1, 2**31 - 1, -5, 3_000_000_000])
def test_any_label_value_has_its_dice(value: int) -> None:
    """Places 1 to 4 against 3 to 6: two of four each, so 2 * 2 / (4 + 4); moved by 2, all of them."""
    dtype = np.uint32 if value > np.iinfo(np.int32).max else np.int32
    figures = overlap_of(slab(value, 1, 5, dtype), slab(value, 3, 7, dtype), affine=SHIFT)
    assert figures["dice"] == pytest.approx(0.5)
    assert figures["dice_before"] == 1.0
    assert figures["hd95"] == pytest.approx(2.0)
    assert figures["hd95_before"] == 0.0


def test_neighboring_large_labels_are_two() -> None:
    """Which float32 cannot tell apart."""
    assert overlap_of(slab(2**24, 1, 5), slab(2**24 + 1, 1, 5))["dice"] != pytest.approx(1.0, nan_ok=True)


def test_labels_of_two_types_are_compared_by_value() -> None:
    figures = overlap_of(slab(3_000_000_000, 1, 5, np.uint32), slab(-1_294_967_296, 1, 5))
    assert np.isnan(figures["dice"])
    assert overlap_of(slab(7, 1, 5, np.uint32), slab(7, 1, 5))["dice"] == 1.0


def test_chosen_labels_alone_count() -> None:
    fixed, moving = slab(1, 1, 5) + slab(9, 5, 8), slab(1, 1, 5) + slab(9, 7, 8)
    assert overlap_of(fixed, moving)["dice"] == pytest.approx((1 + 2 * 1 / 4) / 2)
    assert overlap_of(fixed, moving, [9])["dice"] == pytest.approx(0.5)
    assert overlap_of(fixed, moving, [1, 4])["dice"] == 1.0


def test_background_is_no_label() -> None:
    assert overlap_of(slab(1, 0, 2), slab(1, 0, 2), [0, 1])["dice"] == 1.0
    assert np.isnan(overlap_of(slab(1, 0, 2), slab(1, 0, 2), [0])["dice"])


def test_hausdorff_distance_is_in_mm() -> None:
    spacing = np.diag([1.0, 1.0, 3.0, 1.0])
    fixed, moving = np.zeros(SIZE, np.int32), np.zeros((8, 9, 30), np.int32)
    fixed[2:5, 2:5, 2:5] = 1  # 6 to 12 mm
    moving[2:5, 2:5, 11:20] = 1  # of 1 mm: at 6, 9 and 12 the same fixed voxels 4, 5 and 6
    figures = overlap_of(fixed, moving, fixed_affine=spacing)
    assert figures["hd95"] == pytest.approx(6.0)


def test_figures_of_labels_need_both_maps() -> None:
    one = loaded(np.zeros(SIZE, np.float32), label=slab(1, 0, 2), landmarks=np.zeros((1, 3)))
    assert label_overlap(registered(fixed=one), None) == {}
    assert landmark_error(registered(fixed=one)) == {}


# --- landmarks --------------------------------------------------------------------------------------------------------


def test_landmark_error_is_the_mean_distance_in_the_moving_space() -> None:
    points = np.random.default_rng(0).uniform(-50, 50, (20, 3))
    truth = from_matvec(Rotation.from_euler("z", 30, degrees=True).as_matrix(), [3, 4, 0])
    moving = Affine(truth)(points)
    # The affine map found lacks the shift of 5 mm, sqrt(3² + 4²); the deformation before it makes up for that.
    found = from_matvec(truth[:3, :3], [0, 0, 0])
    shift = np.linalg.solve(truth[:3, :3], [3, 4, 0])
    images = (loaded(np.zeros(SIZE, np.float32), landmarks=place) for place in (points, moving))
    deformation = Field(np.broadcast_to(shift.astype(np.float32), (*SIZE, 3)).copy(), np.eye(4))
    figures = landmark_error(registered(fixed=next(images), moving=next(images), affine=found, deformation=deformation))
    assert figures["tre_before"] == pytest.approx(5.0)
    assert figures["tre"] == pytest.approx(0.0, abs=1e-6)
    assert figures["tre_bias_before"] == pytest.approx(5.0)


def test_errors_in_all_directions_have_no_common_shift() -> None:
    points = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    moving = points + 3.0 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    images = (loaded(np.zeros(SIZE, np.float32), landmarks=place) for place in (points, moving))
    figures = landmark_error(registered(fixed=next(images), moving=next(images)))
    assert figures["tre"] == pytest.approx(3.0) and figures["tre_bias"] == pytest.approx(0.0, abs=1e-9)


# --- transforms -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shifted() -> Registration:
    """A cube with a field of 2 mm along x everywhere."""
    field = torch.zeros(3, *SIZE)
    field[0] = 2.0
    deformation = Field(np.moveaxis(field.numpy(), 0, -1).copy(), np.eye(4))
    return registered(field=field, deformation=deformation, warp=deformation)


def test_inverse_consistency_is_the_distance_there_and_back(shifted: Registration) -> None:
    assert inverse_consistency(shifted) == {}
    figures = inverse_consistency(replace(shifted, inverse_warp=registered().warp))
    assert figures["inverse_consistency_mean_mm"] == pytest.approx(2.0)
    assert figures["inverse_consistency_max_mm"] == pytest.approx(2.0)
    back = Field(-shifted.warp.displacement, np.eye(4))
    assert inverse_consistency(replace(shifted, inverse_warp=back))["inverse_consistency_max_mm"] < 1e-6


def test_a_shift_has_its_length_and_folds_nothing(shifted: Registration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.registration.measuring.header_facts", lambda _: {})
    measured = measure(shifted, {"init": "none"}).metrics
    assert measured["mean_displacement_mm"] == measured["max_displacement_mm"] == 2.0
    assert measured["foreground_folding_percent"] == measured["foreground_ndv_percent"] == 0.0
    assert measured["sdlogj"] < 1e-6
    assert measured["foreground_dice_before"] == 1.0
    assert measured["foreground_dice"] == pytest.approx(2 * 2 / (4 + 4))  # 2 of 4 layers
    assert measured["lncc_before"] > 0.99 > measured["lncc"] + 0.3
    assert measured["verdict"] == "fail"
    assert "measure" in measured["timings"]


@pytest.mark.parametrize("angle", [0.0, 30.0, 120.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_affine_is_described_by_its_rotation_and_stretches(angle: float, mirrored: bool) -> None:
    turn = Rotation.from_rotvec(np.radians(angle) * np.array([0.6, 0.0, 0.8])).as_matrix()
    turn = -turn if mirrored else turn
    described = describe_affine(from_matvec(turn @ np.diag([1.2, 1.0, 0.9]), [5, 6, 7]))
    assert described["rotation_degrees"] == pytest.approx(angle, abs=1e-4)
    assert described["scale"] == pytest.approx([1.2, 1.0, 0.9])
    assert np.array(described["matrix"])[:3, 3].tolist() == [5, 6, 7]
