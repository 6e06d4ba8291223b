# SPDX-License-Identifier: Apache-2.0
"""The correction of the field at the image's size."""

import pytest
import torch
from monai.networks.utils import pixelshuffle

from scripts.losses import RegistrationLoss
from scripts.networks import MSFBNet
from scripts.spatial import bounded_spline, compose, integrate, resize_field, warp
from tests.networks.examples import SIZE, moving_network, network, pair


@torch.no_grad()
def detail_only(**options) -> MSFBNet:
    """A network whose other heads predict 0."""
    net = network(**options)
    for head in net.heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    return net


@pytest.mark.parametrize("diffeomorphic", [True, False])
@pytest.mark.parametrize("field_scale", [0, 1, 2])
@torch.no_grad()
def test_it_moves_by_less_than_a_voxel_of_the_image(field_scale: int, diffeomorphic: bool) -> None:
    net = detail_only(field_scale=field_scale, diffeomorphic=diffeomorphic)
    torch.nn.init.normal_(net.detail_head.weight, std=1e6)
    *pyramid, field = net.pyramid(pair(1, *SIZE))
    assert not any(coarse.any() for coarse in pyramid)
    assert 0.3 < field.abs().max() <= 0.85 + 1e-5


@torch.no_grad()
def test_it_compares_fixed_and_warped_image_and_composes_the_residual() -> None:
    net, image = moving_network(), pair(2, *SIZE)
    *_, coarse, field = net.pyramid(image)
    large = resize_field(coarse, list(SIZE))
    fixed, moved = (net.encoder(single)[1] for single in (image[:, :1], warp(image[:, 1:], large)))
    prediction = net.detail_head(net.detail_block(fixed, moved, coarse))
    residual = integrate(0.85 * bounded_spline(pixelshuffle(prediction, 3, 2)), steps=1)
    assert residual.abs().max() > 0.1
    torch.testing.assert_close(field, compose(large, residual), rtol=0, atol=1e-4)


@torch.no_grad()
def test_each_voxel_has_an_output_channel() -> None:
    net, image = detail_only(), pair(3, *SIZE)
    torch.nn.init.zeros_(net.detail_head.weight)
    torch.nn.init.zeros_(net.detail_head.bias)
    net.detail_head.bias[8 + 3] = 50.0  # second axis, the voxel at (0, 1, 1) of each box of 2 x 2 x 2
    field = net(image)
    assert field[0, [0, 2]].abs().max() == 0
    largest = field[0, 1] > field[0, 1].max() - 1e-6
    indices = largest.nonzero() % 2
    assert (indices == torch.tensor([0, 1, 1])).all()


@pytest.mark.slow
def test_it_learns_a_shift_of_half_a_voxel() -> None:
    large = pair(4, 64, 64, 64, sigma=3.0)[:, :1]
    fixed = large[:, :, ::2, ::2, ::2]
    moving = large.roll(1, dims=3)[:, :, ::2, ::2, ::2]
    image = torch.cat([fixed, moving], dim=1)
    net, loss = network(channels=[8, 16]), RegistrationLoss()
    optimizer = torch.optim.Adam([*net.detail_block.parameters(), *net.detail_head.parameters()], lr=5e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss(net.pyramid(image), image).backward()
        optimizer.step()
    with torch.no_grad():
        shift = net(image)[0, :, 4:-4, 4:-4, 4:-4].mean(dim=(1, 2, 3))
    torch.testing.assert_close(shift, torch.tensor([0.0, 0.5, 0.0]), rtol=0, atol=0.1)
