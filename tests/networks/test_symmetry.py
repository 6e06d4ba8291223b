# SPDX-License-Identifier: Apache-2.0
"""A symmetric network registers both orders of a pair consistently."""

import pytest
import torch

from scripts.networks import MSFBNet
from scripts.spatial import compose
from tests.networks.examples import SIZE, moving_network, network, pair


@pytest.mark.parametrize("options", [{}, {"iterations": 1}, {"field_scale": 0}], ids=str)
@torch.no_grad()
def test_field_of_the_swapped_pair_is_the_inverse(options: dict) -> None:
    image = pair(17, *SIZE, sigma=4.0)
    symmetric, one_way = (moving_network(symmetric=s, detail=False, **options) for s in (True, False))

    def inverse_error(net: MSFBNet) -> float:
        composed = compose(net(image), net(image.flip(1)))
        return composed[:, :, 4:-4, 4:-4, 4:-4].norm(dim=1).mean().item()

    assert symmetric(image).norm(dim=1).mean() > 1
    # The rest are errors of interpolation between voxels of half the size.
    assert inverse_error(symmetric) < 0.1 * inverse_error(one_way)


@torch.no_grad()
def test_field_between_equal_images_is_zero() -> None:
    image = pair(18, *SIZE)[:, :1].repeat(1, 2, 1, 1, 1)
    assert moving_network(detail=False)(image).abs().max() < 1e-5
    assert moving_network(symmetric=False, detail=False)(image).abs().max() > 1


def test_parameters_are_those_of_the_one_way_network() -> None:
    shapes = [{name: value.shape for name, value in network(symmetric=s).state_dict().items()} for s in (True, False)]
    assert shapes[0] == shapes[1]
