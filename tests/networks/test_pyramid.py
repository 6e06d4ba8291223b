# SPDX-License-Identifier: Apache-2.0
"""The fields of all scales: sizes, features and composition at each scale, limits of the residuals."""

import pytest
import torch
from torch import Tensor

from scripts.networks import MSFBNet
from scripts.spatial import bounded_spline, compose, integrate, resize_field, warp
from tests.networks.examples import SIZE, moving_network, network, pair


def one_way_pyramid(net: MSFBNet, image: Tensor, diffeomorphic: bool) -> list[Tensor]:
    """Fields of a network of field scale 1 that warps only the moving image, one residual per scale."""
    features = []
    for single in image.split(1, dim=1):  # each image alone
        low = net.encoder(single)[1:]
        high = net.auxiliary_decoder(low)
        # Coarse to fine; the coarsest block has no high-level features.
        both = [torch.cat(levels, dim=1) for levels in zip(low[:-1], high[:-1], strict=True)]
        features.append([low[-1], *both[::-1]])
    fields: list[Tensor] = []
    for fixed, moving, block, head in zip(*features, net.blocks, net.heads, strict=True):
        size = list(fixed.shape[2:])
        field = resize_field(fields[-1], size) if fields else torch.zeros(1, 3, *size)
        residual = bounded_spline(head(block(fixed, warp(moving, field), field)))
        fields.append(compose(field, integrate(residual, 5) if diffeomorphic else residual))
    return fields


@pytest.mark.parametrize("diffeomorphic", [True, False])
@torch.no_grad()
def test_each_scale_warps_the_moving_features_and_composes_its_residual(diffeomorphic: bool) -> None:
    options = {"symmetric": False, "iterations": 1, "detail": False, "diffeomorphic": diffeomorphic}
    net, image = moving_network(**options), pair(8, *SIZE)
    fields, expected = net.pyramid(image), one_way_pyramid(net, image, diffeomorphic)
    torch.testing.assert_close(fields, expected, rtol=0, atol=1e-4)
    other = one_way_pyramid(net, image, not diffeomorphic)
    assert (fields[-1] - other[-1]).abs().max() > 1e-2


@pytest.mark.parametrize("field_scale", [0, 1, 2, 4])
@pytest.mark.parametrize("detail", [False, True])
@torch.no_grad()
def test_sizes_double_from_the_coarsest_scale_to_that_of_the_field(field_scale: int, detail: bool) -> None:
    net, image = moving_network(field_scale=field_scale, detail=detail), pair(10, *SIZE)
    fields = net.pyramid(image)
    scales = [*range(4, field_scale - 1, -1), *([0] if detail else [])]
    assert [tuple(field.shape) for field in fields] == [(1, 3, *(n // 2**scale for n in SIZE)) for scale in scales]
    torch.testing.assert_close(net(image), resize_field(fields[-1], list(SIZE)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("diffeomorphic", [True, False])
@pytest.mark.parametrize("scale", range(4))
@torch.no_grad()
def test_each_scale_moves_by_at_most_one_of_its_voxels(scale: int, diffeomorphic: bool) -> None:
    net = network(diffeomorphic=diffeomorphic, symmetric=False, iterations=1)
    for i, head in enumerate(net.heads):
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=1e6 if i == scale else 0.0)
    fields = net.pyramid(pair(9, 64, 32, 48))
    assert all(not field.any() for field in fields[:scale])
    assert 0.3 < fields[scale].abs().max() <= 1 + 1e-5


@torch.no_grad()
def test_inner_scales_move_by_one_voxel_per_iteration() -> None:
    net = network(iterations=3, symmetric=False, detail=False)
    for head in net.heads:
        torch.nn.init.zeros_(head.weight)
        head.bias[:] = torch.tensor([50.0, 0.0, -50.0])  # tanh gives 1, 0, -1
    expected = [1, 5, 13, 27]  # 1; 2 * 1 + 3; 2 * 5 + 3; 2 * 13 + 1
    for field, voxels in zip(net.pyramid(pair(9, 64, 32, 48)), expected, strict=True):
        translation = voxels * torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1, 1)
        torch.testing.assert_close(field, translation.expand_as(field))
