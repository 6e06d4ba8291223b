# SPDX-License-Identifier: Apache-2.0
"""Random spatial transforms of label maps."""

import pytest
import torch

from scripts.spatial import jacobian_determinant
from scripts.synthesis.deformation import random_affine, random_displacement
from tests.synthesis.examples import generator


def displacement(largest: float, spacing: int, seed: int) -> torch.Tensor:
    """A field over 64 x 64 x 48 voxels of a label map."""
    size = [64 // spacing, 64 // spacing, 48 // spacing]
    return random_displacement(size, spacing, largest, *2 * [generator(seed)])


@pytest.mark.parametrize("spacing", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_displacements_do_not_fold(seed: int, spacing: int) -> None:
    field = displacement(6.0, spacing, seed)
    assert field.shape == (3, 64 // spacing, 64 // spacing, 48 // spacing)
    assert jacobian_determinant(field[None] / spacing).min() > 0.1


@pytest.mark.parametrize("spacing", [1, 2])
def test_displacements_have_a_mean_length_up_to_the_largest(spacing: int) -> None:
    lengths = []
    for seed in range(40):
        translation = displacement(0.0, spacing, seed)
        assert (translation == translation[:, :1, :1, :1]).all()
        lengths.append((displacement(6.0, spacing, seed) - translation).norm(dim=0).mean().item())
    assert max(lengths) < 6.5  # the exponential of a velocity is a little longer at some places
    assert 2 < sum(lengths) / 40 < 4  # uniform from 0 to 6


def test_affine_matrices_are_near_the_identity() -> None:
    matrices = torch.stack([random_affine(generator(seed)) for seed in range(500)])
    assert matrices.mean(dim=0) == pytest.approx(torch.eye(3), abs=0.005)
    assert matrices.std(dim=0).mean() == pytest.approx(0.015, rel=0.1)
