# SPDX-License-Identifier: Apache-2.0
"""Dice and HD95 against simple reimplementations of Learn2Reg's and LUMIR's evaluation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.utils import get_code_to_measure_table

from scripts.metrics import dice_per_label, hd95_per_label

LABELS = [300, 7, 65535, 12, 0]


def random_pair(seed: int, size: tuple[int, int, int] = (9, 10, 11)) -> tuple[torch.Tensor, torch.Tensor]:
    """Two label maps of a few large regions each, which overlap in part."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(len(LABELS), *size))

    def one() -> torch.Tensor:
        scores = shared + 0.7 * rng.normal(size=shared.shape)
        for axis in (1, 2, 3):
            scores = scores + np.roll(scores, 1, axis) + np.roll(scores, -1, axis)
        return torch.from_numpy(np.array(LABELS)[scores.argmax(0)].astype(np.int32))

    return one(), one()


def lumir_dice(fixed: np.ndarray, moving: np.ndarray, warped: np.ndarray, labels: list[int]) -> list[float]:
    """Dice of each label as LUMIR computes it."""
    dice = []
    for label in labels:
        f, m, w = fixed == label, moving == label, warped == label
        dice.append(2 * (f & w).sum() / (f.sum() + w.sum()) if f.any() and m.any() else math.nan)
    return dice


def surface(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Surface elements, at corners of voxels on both sides of the mask's border: positions, mm, and areas, mm^2."""
    table, _ = get_code_to_measure_table(spacing)
    padded = np.pad(mask, 1)
    positions, areas = [], []
    for z, y, x in np.ndindex(*(n - 1 for n in padded.shape)):
        corner = padded[z : z + 2, y : y + 2, x : x + 2].ravel()
        if corner.any() and not corner.all():
            positions.append(np.multiply((z, y, x), spacing))
            areas.append(float(table[int("".join(str(int(bit)) for bit in corner), 2)]))
    return np.array(positions), np.array(areas)


def brute_force_hd95(first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...]) -> float:
    """HD95 from the distances of all pairs of surface elements, mm."""
    (p, p_area), (q, q_area) = surface(first, spacing), surface(second, spacing)
    between = np.linalg.norm(p[:, None] - q[None], axis=-1)

    def directed(distances: np.ndarray, areas: np.ndarray) -> float:
        covered = 0.0
        for distance, area in sorted(zip(distances, areas, strict=True)):
            covered += area
            if covered >= 0.95 * areas.sum():
                return distance
        raise AssertionError

    return max(directed(between.min(1), p_area), directed(between.min(0), q_area))


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_dice_is_that_of_lumir(seed: int) -> None:
    fixed, warped = random_pair(seed, (4, 5, 3))
    moving = random_pair(seed + 1, (4, 5, 3))[0]
    expected = lumir_dice(fixed.numpy(), moving.numpy(), warped.numpy(), LABELS)
    dice = dice_per_label(fixed, warped, LABELS, moving)
    np.testing.assert_allclose(dice.numpy(), expected, rtol=1e-6)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_dice_is_symmetric_and_follows_the_order_of_the_labels(seed: int) -> None:
    fixed, warped = random_pair(seed, (4, 4, 4))
    dice = dice_per_label(fixed, warped, LABELS)
    torch.testing.assert_close(dice_per_label(warped, fixed, LABELS), dice, equal_nan=True)
    torch.testing.assert_close(dice_per_label(fixed, warped, LABELS[::-1]), dice.flip(0), equal_nan=True)


def test_dice_and_hd95_of_equal_maps_are_1_and_0() -> None:
    fixed, _ = random_pair(0)
    assert torch.equal(dice_per_label(fixed, fixed.clone(), LABELS), torch.ones(len(LABELS)))
    assert torch.equal(hd95_per_label(fixed, fixed.clone(), LABELS), torch.zeros(len(LABELS)))


def test_half_overlap_has_dice_one_half() -> None:
    # 4 slices each, 2 of them shared: 2 * 2 / (4 + 4) = 0.5.
    fixed = torch.zeros(6, 4, 4, dtype=torch.uint8)
    warped = fixed.clone()
    fixed[0:4] = 9
    warped[2:6] = 9
    assert dice_per_label(fixed, warped, [9]).tolist() == [0.5]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 2.0, 1.25)])
@pytest.mark.parametrize("seed", [1, 2])
def test_hd95_is_the_weighted_percentile_of_all_distances(seed: int, spacing: tuple[float, float, float]) -> None:
    fixed, warped = random_pair(seed)
    expected = [brute_force_hd95(fixed.numpy() == label, warped.numpy() == label, spacing) for label in LABELS]
    assert max(expected) > 0
    np.testing.assert_allclose(hd95_per_label(fixed, warped, LABELS, spacing).numpy(), expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 2.0, 1.25)])
def test_hd95_is_that_of_the_surface_distance_package(spacing: tuple[float, float, float]) -> None:
    reference = pytest.importorskip("surface_distance.metrics")
    fixed, warped = random_pair(3, (14, 12, 13))
    expected = [
        reference.compute_robust_hausdorff(
            reference.compute_surface_distances((fixed == label).numpy(), (warped == label).numpy(), spacing), 95.0
        )
        for label in LABELS
    ]
    np.testing.assert_allclose(hd95_per_label(fixed, warped, LABELS, spacing).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_hd95_of_two_distant_voxels_is_their_distance(axis: int) -> None:
    # Each has eight surface elements of equal area, four of them 10 voxels from the nearest of the other: 10 * 1.5 mm.
    fixed = torch.zeros(14, 14, 14, dtype=torch.int16)
    fixed[1, 1, 1] = 5
    warped = fixed.roll(10, axis)
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 1.5
    assert hd95_per_label(fixed, warped, [5], spacing).tolist() == [15.0]


def test_hd95_is_symmetric_and_scales_with_the_spacing() -> None:
    fixed, warped = random_pair(4)
    distance = hd95_per_label(fixed, warped, LABELS)
    torch.testing.assert_close(hd95_per_label(warped, fixed, LABELS), distance)
    torch.testing.assert_close(hd95_per_label(fixed, warped, LABELS, (3.0, 3.0, 3.0)), 3.0 * distance)


def test_hd95_does_not_depend_on_the_order_of_the_axes() -> None:
    fixed, warped = random_pair(5)
    distance = hd95_per_label(fixed, warped, LABELS, (0.5, 2.0, 1.0))
    permuted = hd95_per_label(fixed.permute(2, 0, 1), warped.permute(2, 0, 1), LABELS, (1.0, 0.5, 2.0))
    torch.testing.assert_close(permuted, distance)


def test_labels_absent_in_either_map_are_nan() -> None:
    fixed = torch.tensor([[[0, 1], [2, 2]]])
    warped = torch.tensor([[[0, 3], [2, 0]]])
    for metric in (dice_per_label, hd95_per_label):
        values = metric(fixed, warped, [0, 1, 2, 3, 4])
        assert values.isnan().tolist() == [False, True, False, True, True]


def test_label_lost_by_the_warp_counts_if_the_moving_map_has_it() -> None:
    fixed = torch.zeros(4, 4, 4, dtype=torch.int32)
    moving = torch.zeros(5, 5, 5, dtype=torch.int32)
    fixed[1, 1, 1], fixed[3, 3, 3] = 1, 2
    moving[0, 0, 0] = 1
    warped = torch.zeros_like(fixed)
    assert dice_per_label(fixed, warped, [1]).isnan().all()
    assert hd95_per_label(fixed, warped, [1]).isnan().all()
    np.testing.assert_equal(dice_per_label(fixed, warped, [1, 2], moving_label=moving).tolist(), [0.0, math.nan])
    np.testing.assert_equal(hd95_per_label(fixed, warped, [1, 2], moving_label=moving).tolist(), [math.inf, math.nan])


@pytest.mark.parametrize("metric", [dice_per_label, hd95_per_label])
def test_channel_axis_makes_no_difference(metric: Callable[..., torch.Tensor]) -> None:
    fixed, warped = random_pair(6)
    assert torch.equal(metric(fixed[None], warped[None], LABELS), metric(fixed, warped, LABELS))


@pytest.mark.parametrize("metric", [dice_per_label, hd95_per_label])
def test_other_tensors_than_label_maps_are_refused(metric: Callable[..., torch.Tensor]) -> None:
    good = torch.zeros(4, 4, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match="integer"):
        metric(good, good.float(), [1])
    with pytest.raises(ValueError, match="differ in size"):
        metric(good, good[1:], [1])
    with pytest.raises(ValueError, match="volume"):
        metric(good[None, None], good[None, None], [1])
    with pytest.raises(ValueError, match="negative"):
        metric(good - 1, good, [1])
