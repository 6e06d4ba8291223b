# SPDX-License-Identifier: Apache-2.0
"""The folding penalty against known determinants, and descent of its gradient."""

import pytest
import torch
from torch import Tensor

from scripts.losses import FoldingLoss
from scripts.losses.folding import tetrahedra_determinants
from scripts.spatial.jacobian import TETRAHEDRA, jacobian_determinant

MARGIN = 0.05
penalty = FoldingLoss()


def grid(*size: int) -> Tensor:
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij"))


def random_field(seed: int, *size: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def determinants(field: Tensor) -> Tensor:
    """All ten, in the scale where the identity has 1."""
    unit = [2 if scheme.startswith("J") else 1 for scheme in TETRAHEDRA]
    return torch.stack([jacobian_determinant(field, s) / u for s, u in zip(TETRAHEDRA, unit, strict=True)])


@pytest.mark.parametrize("size", [(3, 3, 3), (5, 4, 7), (21, 3, 4)])  # the last one is computed in several slabs
def test_value_and_gradient_are_those_of_the_ten_determinants(size: tuple[int, ...]) -> None:
    field = random_field(0, *size, batch=2).requires_grad_()
    expected = (MARGIN - determinants(field)).clamp(min=0).mean()
    value = penalty(field)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(v, field)[0] for v in (value, expected)), rtol=1e-10, atol=1e-14)


def test_value_and_gradient_of_few_folds_are_right() -> None:
    field = 0.05 * random_field(2, 30, 6, 7, batch=2)
    for item, plane in ((0, 1), (0, 9), (1, 10), (1, 28)):
        field[item, 0, plane, 3, 3] += 1.5
    field.requires_grad_()
    penalized = determinants(field) < MARGIN
    assert 0 < penalized.double().mean() < 0.02
    expected = (MARGIN - determinants(field)).clamp(min=0).mean()
    value = penalty(field)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    slopes = [torch.autograd.grad(v, field)[0] for v in (value, expected)]
    assert 0 < (slopes[1] != 0).double().mean() < 0.1
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("size", [(3, 3, 3), (21, 5, 6)])
def test_field_without_folds_has_no_penalty_and_no_gradient(size: tuple[int, ...]) -> None:
    field = (0.05 * random_field(3, *size, batch=2)).requires_grad_()
    assert determinants(field).min() > MARGIN
    value = penalty(field)
    value.backward()
    assert value == 0
    assert torch.equal(field.grad, torch.zeros_like(field))


def test_tetrahedra_are_those_of_the_ten_schemes() -> None:
    field = random_field(4, 5, 4, 7, batch=2)
    found, expected = tetrahedra_determinants(field), determinants(field).movedim(0, 1)
    torch.testing.assert_close(found.sort(dim=1)[0], expected.sort(dim=1)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("diagonal", "expected"),
    [
        ((1, 1, 1), 0.0),  # determinant 1
        ((0.5, 0.5, 0.25), 0.0),  # 0.5 * 0.5 * 0.25 = 0.0625 > 0.05
        ((0.5, 0.5, 0.1), 0.025),  # 0.05 - 0.5 * 0.5 * 0.1
        ((1, 0, 1), 0.05),  # 0.05 - 0
        ((1, 1, -1), 1.05),  # 0.05 + 1
        ((-2, 1, 1.5), 3.05),  # 0.05 + 2 * 1 * 1.5
        ((-1, -1, 1), 0.0),  # determinant 1: a rotation
    ],
)
def test_penalty_of_a_linear_map_is_that_of_its_determinant(diagonal: tuple[float, ...], expected: float) -> None:
    slopes = torch.tensor(diagonal, dtype=torch.float64).view(3, 1, 1, 1) - 1
    value = penalty((slopes * grid(4, 5, 6))[None])
    assert value.item() == pytest.approx(expected, abs=1e-12)


def test_checkerboard_is_penalized() -> None:
    # Its determinants by central differences are 1.
    field = torch.zeros(1, 3, 5, 6, 5, dtype=torch.float64)
    field[:, 1] = 0.8 * (-1.0) ** grid(5, 6, 5).sum(0)
    torch.testing.assert_close(jacobian_determinant(field), torch.ones(1, 3, 4, 3, dtype=torch.float64))
    assert penalty(field) > 0.1


def test_one_voxel_beyond_its_neighbor_is_penalized() -> None:
    field = torch.zeros(1, 3, 7, 7, 7)
    field[0, 2, 3, 3, 3] = 0.9
    assert penalty(field) == 0
    field[0, 2, 3, 3, 3] = 1.1
    assert penalty(field) > 0


def test_gradient_descent_removes_folds() -> None:
    field = (0.6 * random_field(1, 6, 6, 6)).requires_grad_()
    assert (determinants(field) < 0).double().mean() > 0.1
    optimizer = torch.optim.SGD([field], lr=20.0)
    for _ in range(100):
        optimizer.zero_grad()
        loss = penalty(field)
        loss.backward()
        if loss == 0:
            break
        optimizer.step()
    assert determinants(field).min() >= MARGIN


def test_field_without_interior_is_refused() -> None:
    with pytest.raises(ValueError, match="3 voxels"):
        penalty(torch.zeros(1, 3, 4, 2, 4))


def test_penalty_of_nan_is_nan() -> None:
    field = torch.zeros(1, 3, 6, 6, 6)
    field[0, 1, 3, 3, 3] = float("nan")
    assert FoldingLoss()(field).isnan()
