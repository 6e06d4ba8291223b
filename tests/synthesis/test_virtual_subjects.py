# SPDX-License-Identifier: Apache-2.0
"""Virtual subjects: the known field aligns them, does not fold, and depends only on the seed."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool3d

from scripts.spatial import warp
from scripts.synthesis.anatomies import Anatomy, phantom_anatomy
from scripts.synthesis.virtual_subjects import VirtualPair, subject_points, virtual_pair, virtual_subject


@pytest.fixture(scope="module")
def pair(anatomy: Anatomy) -> VirtualPair:
    return virtual_pair(anatomy, 1)


def agreement(first: Tensor, second: Tensor) -> float:
    """Share of the voxels in either brain that have the same label."""
    brain = (first > 0) | (second > 0)
    return float((first == second)[brain].float().mean())


def at_border(labels: Tensor) -> Tensor:
    """Voxels with another label among their 26 neighbors."""
    values = labels.float()
    largest, smallest = max_pool3d(values, 3, 1, 1), -max_pool3d(-values, 3, 1, 1)
    return largest != smallest


def finite_difference_determinants(field: Tensor) -> Tensor:
    """Determinants of x -> x + field(x) by forward differences, for every voxel but the last of each axis."""
    u = field[0].double()
    d, h, w = (n - 1 for n in u.shape[1:])
    rows = [
        (u[:, 1:, :h, :w] - u[:, :d, :h, :w]),
        (u[:, :d, 1:, :w] - u[:, :d, :h, :w]),
        (u[:, :d, :h, 1:] - u[:, :d, :h, :w]),
    ]
    jacobian = torch.stack(rows, dim=-1).movedim(0, -2) + torch.eye(3, dtype=torch.float64)
    return torch.linalg.det(jacobian)


def test_known_field_aligns_the_pair(pair: VirtualPair) -> None:
    moved = warp(pair.moving.labels, pair.field, mode="nearest")
    assert agreement(pair.fixed.labels, moved) > agreement(pair.fixed.labels, pair.moving.labels) + 0.1
    # Differences are due to rounding to voxels, so there are none away from borders.
    inside = (pair.fixed.labels > 0) & ~at_border(pair.fixed.labels)
    assert int(inside.sum()) > 500
    assert float((pair.fixed.labels == moved)[inside].float().mean()) > 0.99
    brain = pair.fixed.labels > 0
    apart = (pair.moving.image - pair.fixed.image)[brain].abs().mean()
    aligned = (warp(pair.moving.image, pair.field) - pair.fixed.image)[brain].abs().mean()
    assert aligned < 0.75 * apart


def test_wrong_sign_of_the_field_does_not_align(pair: VirtualPair) -> None:
    right, wrong = (warp(pair.moving.labels, sign * pair.field, mode="nearest") for sign in (1, -1))
    assert agreement(pair.fixed.labels, wrong) < agreement(pair.fixed.labels, right) - 0.3


def test_known_field_maps_points_of_one_subject_to_the_other() -> None:
    # At this size displacements are so long that composing in the wrong order would show.
    anatomy = phantom_anatomy((64, 72, 64))
    pair = virtual_pair(anatomy, 1)
    points = torch.nonzero(anatomy.labels > 0)[::97].float()
    fixed, moving = (subject_points(subject.velocity, points) for subject in (pair.fixed, pair.moving))
    # Linear interpolation of the field at the points.
    positions = (2 * fixed / (torch.tensor(anatomy.labels.shape) - 1.0) - 1).flip(1).view(1, -1, 1, 1, 3)
    at_points = grid_sample(pair.field, positions, align_corners=True)[0, :, :, 0, 0].T
    errors = (fixed + at_points - moving).norm(dim=1)
    assert float(errors.max()) < 0.5
    assert float(errors.mean()) < 0.1


def test_known_field_does_not_fold_and_has_its_length(pair: VirtualPair) -> None:
    assert float(finite_difference_determinants(pair.field).min()) > 0
    brain = pair.fixed.labels[0, 0] > 0
    share = float(pair.field.norm(dim=1)[0][brain].mean()) / np.mean(brain.shape)
    assert 0.025 < share < 0.045  # 1.4 x 0.025 = 0.035


def test_subject_is_skull_stripped_and_in_range(anatomy: Anatomy, pair: VirtualPair) -> None:
    subject = pair.fixed
    brain = subject.labels > 0
    assert bool((subject.image[~brain] == 0).all())
    assert float(subject.image.min()) >= 0
    assert float(subject.image.max()) <= 1
    assert subject.labels.dtype == torch.int32
    assert set(subject.labels.unique().tolist()) == {0, *anatomy.names}


def test_subjects_follow_the_seed(anatomy: Anatomy) -> None:
    first, again, other = (virtual_subject(anatomy, seed) for seed in (6, 6, 7))
    for one, same, different in zip(first, again, other, strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, different)


def test_global_generator_does_not_change() -> None:
    state = torch.get_rng_state()
    virtual_subject(phantom_anatomy((16, 16, 16)), 0)
    assert torch.equal(torch.get_rng_state(), state)
