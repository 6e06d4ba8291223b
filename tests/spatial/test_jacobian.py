# SPDX-License-Identifier: Apache-2.0
"""Jacobian determinants against analytic ones and plain loops, and their symmetries."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scripts.spatial.jacobian import TETRAHEDRA, jacobian_determinant
from tests.spatial.examples import grid

ALL_SCHEMES = ("central", *TETRAHEDRA)


def affine_field(matrix: torch.Tensor, *size: int) -> torch.Tensor:
    return torch.einsum("ij,jdhw->idhw", matrix - torch.eye(3, dtype=matrix.dtype), grid(*size))[None]


def random_field(seed: int, *size: int) -> torch.Tensor:
    return torch.randn(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(scheme: str) -> float:
    """The determinant of the identity."""
    return 2.0 if scheme.startswith("J") else 1.0


def determinant_at(position: np.ndarray, x: tuple[int, ...], scheme: str) -> float:
    """One determinant from deformed positions `(D, H, W, 3)`, by its definition."""
    at = lambda *offset: position[tuple(np.add(x, offset))]  # noqa: E731
    axes = np.eye(3, dtype=int)
    if scheme == "J*1":
        edges = [at(-1, -1, 0) - at(0, 0, 0), at(-1, 0, -1) - at(0, 0, 0), at(0, -1, -1) - at(0, 0, 0)]
    elif scheme == "J*2":
        edges = [at(1, 1, 0) - at(0, 0, 0), at(0, 1, 1) - at(0, 0, 0), at(1, 0, 1) - at(0, 0, 0)]
    elif scheme == "central":
        edges = [(at(*axis) - at(*-axis)) / 2 for axis in axes]
    else:
        signs = {"+": 1, "-": -1}
        edges = [
            signs[sign] * (at(*(signs[sign] * axis)) - at(0, 0, 0)) for sign, axis in zip(scheme, axes, strict=True)
        ]
    return float(np.linalg.det(np.stack(edges, axis=1)))


@pytest.mark.parametrize("scheme", ALL_SCHEMES)
def test_matches_plain_loops_on_folding_fields(scheme: str) -> None:
    size = (4, 5, 6)
    field = random_field(0, *size)
    position = (field[0] + grid(*size)).permute(1, 2, 3, 0).numpy()
    expected = np.empty((2, 3, 4))
    for x in itertools.product(*(range(1, n - 1) for n in size)):
        expected[tuple(np.subtract(x, 1))] = determinant_at(position, x, scheme)
    assert (expected < 0).any()
    np.testing.assert_allclose(jacobian_determinant(field, scheme)[0].numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scheme", ALL_SCHEMES)
@given(entries=st.lists(st.floats(-2, 2), min_size=9, max_size=9))
def test_affine_field_has_the_determinant_of_its_matrix(scheme: str, entries: list[float]) -> None:
    matrix = torch.tensor(entries, dtype=torch.float64).view(3, 3)
    determinant = jacobian_determinant(affine_field(matrix, 3, 4, 5), scheme)
    assert determinant.shape == (1, 1, 2, 3)
    expected = torch.full_like(determinant, unit(scheme) * float(np.linalg.det(matrix.numpy())))
    torch.testing.assert_close(determinant, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scheme", ALL_SCHEMES)
def test_identity_is_exact_in_every_precision(scheme: str) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        determinant = jacobian_determinant(torch.zeros(2, 3, 3, 4, 3, dtype=dtype), scheme)
        assert determinant.dtype == dtype
        assert torch.equal(determinant, torch.full((2, 1, 2, 1), unit(scheme), dtype=dtype))


def test_swirl_preserves_volume() -> None:
    # Rotation about the last axis by an angle that falls off with the radius.
    x = grid(33, 33, 5) - torch.tensor([16.0, 16.0, 2.0], dtype=torch.float64).view(3, 1, 1, 1)
    radius2 = x[0] ** 2 + x[1] ** 2
    angle = 0.8 * torch.exp(-radius2 / (2 * 6.0**2))
    rotated = torch.stack([x[0] * angle.cos() - x[1] * angle.sin(), x[0] * angle.sin() + x[1] * angle.cos(), x[2]])
    determinant = jacobian_determinant((rotated - x)[None])
    assert (rotated - x).norm(dim=0).max() > 2.0
    torch.testing.assert_close(determinant, torch.ones_like(determinant), rtol=0.0, atol=0.02)


def test_radial_growth_has_its_analytic_determinant() -> None:
    # x -> x (1 + s(r)): determinant (1 + s)^2 (1 + s + r s').
    x = grid(25, 25, 25) - 12.0
    radius2 = (x**2).sum(0)
    growth = 0.4 * torch.exp(-radius2 / (2 * 6.0**2))
    expected = (1 + growth) ** 2 * (1 + growth - growth * radius2 / 6.0**2)
    determinant = jacobian_determinant((growth * x)[None])[0]
    assert expected.max() > 2.5
    torch.testing.assert_close(determinant, expected[1:-1, 1:-1, 1:-1], rtol=0.0, atol=0.05)


@pytest.mark.parametrize("scheme", ALL_SCHEMES)
def test_translation_changes_nothing(scheme: str) -> None:
    field = random_field(1, 4, 5, 4)
    torch.testing.assert_close(jacobian_determinant(field + 7.5, scheme), jacobian_determinant(field, scheme))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("scheme", ["+++", "+-+", "--+", "---"])
def test_mirrored_axis_turns_forward_into_backward(scheme: str, axis: int) -> None:
    field = random_field(2, 4, 5, 6)
    mirrored = field.flip(2 + axis).clone()
    mirrored[:, axis] *= -1
    opposite = scheme[:axis] + {"+": "-", "-": "+"}[scheme[axis]] + scheme[axis + 1 :]
    torch.testing.assert_close(
        jacobian_determinant(mirrored, opposite), jacobian_determinant(field, scheme).flip(1 + axis)
    )


def test_point_reflection_swaps_the_central_tetrahedra() -> None:
    field = random_field(3, 4, 5, 6)
    reflected = -field.flip(2, 3, 4)
    torch.testing.assert_close(jacobian_determinant(reflected, "J*1"), jacobian_determinant(field, "J*2").flip(1, 2, 3))


def test_tetrahedra_detect_the_folds_of_a_checkerboard_central_differences_do_not() -> None:
    field = torch.zeros(1, 3, 5, 5, 5, dtype=torch.float64)
    field[0, 0] = 0.8 * (-1) ** grid(5, 5, 5).sum(0)
    assert torch.equal(jacobian_determinant(field), torch.ones(1, 3, 3, 3, dtype=torch.float64))
    assert min(jacobian_determinant(field, scheme).min().item() for scheme in TETRAHEDRA) < -0.5


@pytest.mark.parametrize("scheme", ALL_SCHEMES)
def test_gradient_is_right(scheme: str) -> None:
    field = random_field(4, 3, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: jacobian_determinant(u, scheme), field)


@pytest.mark.parametrize("shape", [(3, 4, 4, 4), (1, 2, 4, 4, 4), (1, 3, 4, 4), (1, 3, 4, 2, 4)])
def test_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="jacobian_determinant"):
        jacobian_determinant(torch.zeros(shape))


def test_integers_are_refused() -> None:
    with pytest.raises(ValueError, match="floats"):
        jacobian_determinant(torch.zeros(1, 3, 4, 4, 4, dtype=torch.int64))


@pytest.mark.parametrize("scheme", ["", "Central", "++", "+0-", "++++", "J*3"])
def test_unknown_scheme_is_refused(scheme: str) -> None:
    with pytest.raises(ValueError, match="scheme"):
        jacobian_determinant(torch.zeros(1, 3, 3, 3, 3), scheme)
