# SPDX-License-Identifier: Apache-2.0
"""NDV, folding and SDlogJ against analytic cases and simple reimplementations of the challenges' evaluations."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import correlate1d, gaussian_filter

from scripts.metrics import non_diffeomorphic_volume, percent_folding, sdlogj

SIZE = (9, 10, 11)


def folding_field(seed: int) -> np.ndarray:
    """A random field that folds in many places, `(3, *SIZE)`, voxels."""
    rng = np.random.default_rng(seed)
    return np.stack([gaussian_filter(rng.normal(size=SIZE), 1.0, mode="nearest") for _ in range(3)]) * 12.0


def random_mask(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(SIZE) < 0.6


def positions(field: np.ndarray) -> np.ndarray:
    return field + np.stack(np.meshgrid(*(np.arange(n) for n in field.shape[1:]), indexing="ij"))


def lumir_ndv(field: np.ndarray, mask: np.ndarray) -> float:
    """NDV in percent of the mask, from the volumes of tetrahedra between deformed voxels."""
    moved = positions(field)

    def at(*offset: int) -> np.ndarray:
        return moved[(slice(None), *(slice(1 + o, n - 1 + o) for o, n in zip(offset, SIZE, strict=True)))]

    here = at(0, 0, 0)
    edges = []
    for a in (1, -1):
        for b in (1, -1):
            for c in (1, -1):
                edges.append([a * (at(a, 0, 0) - here), b * (at(0, b, 0) - here), c * (at(0, 0, c) - here)])
    edges.append([at(-1, -1, 0) - here, at(-1, 0, -1) - here, at(0, -1, -1) - here])
    edges.append([at(1, 1, 0) - here, at(0, 1, 1) - here, at(1, 0, 1) - here])
    inside = mask[1:-1, 1:-1, 1:-1]
    volume = 0.0
    for spanning in edges:
        determinant = np.linalg.det(np.moveaxis(np.stack(spanning), (0, 1), (-1, -2)))
        volume += np.sum(-0.5 * np.minimum(determinant, 0) * inside / 6)
    return volume / inside.sum() * 100


def central_determinant(field: np.ndarray) -> np.ndarray:
    """Jacobian determinant by central differences."""
    gradients = [[correlate1d(c, [-0.5, 0, 0.5], axis=axis, mode="constant") for axis in range(3)] for c in field]
    return np.linalg.det(np.moveaxis(np.array(gradients), (0, 1), (-2, -1)) + np.eye(3))


def matrix_field(matrix: np.ndarray) -> torch.Tensor:
    """The field of the linear map x -> matrix x."""
    grid = positions(np.zeros((3, *SIZE)))
    return torch.from_numpy(np.einsum("ij,jdhw->idhw", matrix - np.eye(3), grid))


@pytest.mark.parametrize("seed", [0, 1])
def test_ndv_is_that_of_lumir(seed: int) -> None:
    field, mask = folding_field(seed), random_mask(seed)
    expected = lumir_ndv(field, mask)
    assert expected > 0.1
    ndv = non_diffeomorphic_volume(torch.from_numpy(field), torch.from_numpy(mask)[None])
    assert ndv.item() == pytest.approx(expected, rel=1e-9)


def test_float32_keeps_a_tiny_ndv() -> None:
    field, mask = folding_field(0), np.ones(SIZE, dtype=bool)
    field *= next(scale for scale in np.arange(1, 0, -0.02) if lumir_ndv(field * scale, mask) < 1e-3)
    expected = lumir_ndv(field, mask)
    assert 0 < expected < 1e-3
    ndv = non_diffeomorphic_volume(torch.from_numpy(field).float(), torch.from_numpy(mask))
    assert ndv.item() == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("diagonal", [(-1, 1, 1), (1, -0.5, 1), (-1, -1, -2), (1, 1, -1)])
def test_reflection_folds_the_whole_volume(diagonal: tuple[float, ...]) -> None:
    # Every voxel has the volume |det| and a negative sign: 100 |det| percent of the mask.
    ndv = non_diffeomorphic_volume(matrix_field(np.diag(diagonal)), torch.ones(SIZE))
    assert ndv.item() == pytest.approx(100 * abs(np.prod(diagonal)))
    assert percent_folding(matrix_field(np.diag(diagonal))).item() == 100


@given(angle=st.floats(-3, 3), scale=st.floats(0.1, 3))
def test_rotation_and_scaling_fold_nothing(angle: float, scale: float) -> None:
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    field = matrix_field(matrix)
    assert non_diffeomorphic_volume(field, torch.ones(SIZE)) == 0
    assert percent_folding(field) == 0
    assert sdlogj(field).item() == pytest.approx(0, abs=1e-9)


def test_translation_folds_nothing() -> None:
    field = torch.tensor([3.5, -2.25, 10.0]).view(3, 1, 1, 1).expand(3, *SIZE)
    assert non_diffeomorphic_volume(field, torch.ones(SIZE)) == 0
    assert percent_folding(field) == 0
    assert sdlogj(field) == 0


def test_translation_adds_nothing_to_a_folding_field() -> None:
    field, mask = torch.from_numpy(folding_field(2)), torch.from_numpy(random_mask(2))
    for metric in (lambda u: non_diffeomorphic_volume(u, mask), percent_folding, sdlogj):
        torch.testing.assert_close(metric(field + 5.0), metric(field))


def test_ndv_sees_a_checkerboard_that_central_differences_miss() -> None:
    field = torch.zeros(3, *SIZE)
    field[1] = 0.8 * (-1.0) ** torch.from_numpy(np.indices(SIZE).sum(0))
    assert percent_folding(field) == 0
    assert non_diffeomorphic_volume(field, torch.ones(SIZE)) > 10


def test_the_outermost_layer_of_the_mask_does_not_count() -> None:
    field = torch.from_numpy(folding_field(3))
    inner = torch.zeros(SIZE)
    inner[1:-1, 1:-1, 1:-1] = torch.rand(7, 8, 9, generator=torch.Generator().manual_seed(0))
    outer = inner.clone()
    outer[0], outer[:, -1], outer[..., 0] = 1.0, 1.0, 1.0
    for metric in (non_diffeomorphic_volume, percent_folding):
        assert torch.equal(metric(field, inner), metric(field, outer))


def test_folding_counts_only_inside_the_mask() -> None:
    # x -> |x - 4|: the half below 4 is mirrored.
    x = torch.arange(SIZE[0], dtype=torch.float32)
    field = torch.zeros(3, *SIZE)
    field[0] = ((x - 4).abs() - x)[:, None, None]
    below, above = torch.zeros(SIZE), torch.zeros(SIZE)
    below[:4], above[5:] = 1, 1
    assert non_diffeomorphic_volume(field, below).item() == pytest.approx(100)
    assert non_diffeomorphic_volume(field, above) == 0
    assert percent_folding(field, below) == 100
    assert percent_folding(field, above) == 0
    # Of the seven inner layers, 1 to 3 are mirrored, and at layer 4 the central determinant is 0: 4 of 7.
    assert percent_folding(field).item() == pytest.approx(100 * 4 / 7)


def test_percent_folding_counts_central_determinants() -> None:
    field, mask = folding_field(4), random_mask(4)
    folded = central_determinant(field)[1:-1, 1:-1, 1:-1] <= 0
    assert folded.any()
    assert percent_folding(torch.from_numpy(field)).item() == pytest.approx(100 * folded.mean())
    inside = percent_folding(torch.from_numpy(field), torch.from_numpy(mask))
    assert inside.item() == pytest.approx(100 * folded[mask[1:-1, 1:-1, 1:-1]].mean())


@pytest.mark.parametrize("strength", [0.2, 1.0, 3.0])
def test_sdlogj_is_that_of_learn2reg(strength: float) -> None:
    field = strength * folding_field(5)
    determinant = central_determinant(field)[2:-2, 2:-2, 2:-2]
    expected = np.log((determinant + 3).clip(0.000000001, 1000000000)).std()
    assert sdlogj(torch.from_numpy(field)).item() == pytest.approx(expected, rel=1e-9)
    assert sdlogj(torch.from_numpy(field).float()).item() == pytest.approx(expected, rel=1e-3)


def test_a_step_against_the_gradient_lowers_ndv() -> None:
    field = torch.from_numpy(folding_field(6)).requires_grad_()
    mask = torch.ones(SIZE)
    before = non_diffeomorphic_volume(field, mask)
    (gradient,) = torch.autograd.grad(before, field)
    after = non_diffeomorphic_volume(field.detach() - 0.1 * gradient, mask)
    assert after < before


def test_empty_mask_has_no_ndv() -> None:
    assert non_diffeomorphic_volume(torch.zeros(3, *SIZE), torch.zeros(SIZE)).isnan()


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        non_diffeomorphic_volume(torch.zeros(3, 5, 5, 5), torch.ones(5, 5, 6))
    with pytest.raises(ValueError, match="differ in size"):
        percent_folding(torch.zeros(3, 5, 5, 5), torch.ones(3, 3, 3))
    with pytest.raises(ValueError, match="5 voxels"):
        sdlogj(torch.zeros(3, 5, 4, 5))
    with pytest.raises(ValueError, match="field of one pair"):
        sdlogj(torch.zeros(1, 3, 5, 5, 5))
