# SPDX-License-Identifier: Apache-2.0
"""Integration of velocity fields, against analytic flows and small Euler steps."""

import numpy as np
import torch
from hypothesis import given, settings
from scipy.linalg import expm
from scipy.ndimage import map_coordinates
from torch import Tensor

from scripts.spatial import compose, integrate
from tests.spatial.examples import ANY_SHIFT, ANY_SIZE, RATES, grid, inner, linear, off_grid, smooth, translation


@given(shift=ANY_SHIFT, size=ANY_SIZE)
@settings(max_examples=25, deadline=None)
def test_constant_velocity_translates_up_to_the_border(shift: tuple, size: tuple) -> None:
    velocity = translation(shift, *size)
    torch.testing.assert_close(integrate(velocity), velocity, rtol=0, atol=1e-11)


def test_linear_velocity_flows_by_the_matrix_exponential() -> None:
    size = (21, 23, 22)
    one = torch.eye(3, dtype=torch.float64)
    velocity = linear(RATES, *size)
    exact = linear(torch.from_numpy(expm(RATES.numpy())) - one, *size)
    assert inner(exact, 5).abs().max() > 0.7
    torch.testing.assert_close(inner(integrate(velocity), 5), inner(exact, 5), rtol=0, atol=5e-4)
    # Linear interpolation of a linear field is exact; the rest is the discretization of time.
    power = torch.linalg.matrix_power(one + RATES / 2**7, 2**7)
    torch.testing.assert_close(inner(integrate(velocity), 6), inner(linear(power - one, *size), 6), rtol=0, atol=1e-10)


def euler(velocity: Tensor, steps: int) -> Tensor:
    """Flow by explicit Euler steps."""
    start = grid(*velocity.shape[2:]).numpy()
    position = start.copy()
    for _ in range(steps):
        position += np.stack([map_coordinates(v, position, order=1, mode="nearest") for v in velocity[0]]) / steps
    return torch.from_numpy(position - start)[None]


def test_seven_squarings_match_many_small_steps() -> None:
    velocity = smooth(9, 30, 32, 28)
    reference = euler(velocity, 500)
    assert (reference - velocity).abs().max() > 0.2
    torch.testing.assert_close(integrate(velocity), reference, rtol=0, atol=0.04)
    assert (integrate(velocity) - reference).abs().mean() < 0.001


def test_flow_of_the_opposite_velocity_is_the_inverse() -> None:
    velocity = smooth(10, 30, 32, 28)
    forward, backward = integrate(velocity), integrate(-velocity)
    assert (forward + backward).abs().max() > 0.3
    assert compose(forward, backward).abs().max() < 0.06
    assert compose(backward, forward).abs().max() < 0.06


def test_time_1_is_twice_time_one_half() -> None:
    velocity = smooth(11, 10, 11, 12)
    half = integrate(velocity / 2, steps=6)
    assert torch.equal(integrate(velocity, steps=7), compose(half, half))


def test_no_squaring_is_the_velocity_itself() -> None:
    velocity = smooth(12, 6, 6, 6)
    assert torch.equal(integrate(velocity, steps=0), velocity)


def test_gradient_is_right() -> None:
    assert torch.autograd.gradcheck(lambda v: integrate(v, steps=4), off_grid(19, 3, 4, 3))
