# SPDX-License-Identifier: Apache-2.0
"""The predicted field: shape, precision, size of the displacement, folds."""

import pytest
import torch

from scripts.metrics import non_diffeomorphic_volume
from tests.networks.examples import SIZE, moving_network, network, pair


@pytest.mark.parametrize("size", [(16, 16, 16), (32, 16, 48), (16, 64, 32)])
@torch.no_grad()
def test_field_has_the_size_of_the_image(size: tuple[int, ...]) -> None:
    field = moving_network()(pair(0, *size))
    assert field.shape == (1, 3, *size)
    assert field.dtype == torch.float32
    assert field.isfinite().all() and field.abs().max() > 0.1


@torch.no_grad()
def test_three_scales_take_multiples_of_four() -> None:
    field = network(channels=(4, 8, 8))(pair(18, 12, 20, 4))
    assert field.shape == (1, 3, 12, 20, 4)


@torch.no_grad()
def test_items_of_a_batch_are_independent() -> None:
    net, images = moving_network(), pair(1, *SIZE, batch=2)
    single = torch.cat([net(images[:1]), net(images[1:])])
    assert (single[0] - single[1]).abs().mean() > 0.1
    torch.testing.assert_close(net(images), single, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"field_scale": 0, "detail": False}], ids=str)
@torch.no_grad()
def test_untrained_network_is_nearly_the_identity(seed: int, options: dict) -> None:
    field = network(seed, **options)(pair(seed, 32, 32, 32, sigma=0.5))
    assert 0 < field.abs().max() < 1e-2


@torch.no_grad()
def test_calls_are_independent_and_keep_the_image() -> None:
    net, image = moving_network(), pair(2, *SIZE)
    before = image.clone()
    first = net(image)
    net(pair(3, 16, 32, 32))
    assert torch.equal(net(image), first)
    assert torch.equal(image, before)


@torch.no_grad()
def test_order_of_the_images_matters() -> None:
    net, image = moving_network(), pair(4, *SIZE)
    assert (net(image) - net(image.flip(1))).abs().mean() > 0.1


@torch.no_grad()
def test_autocast_returns_finite_float32_fields() -> None:
    net, image = moving_network(), pair(5, *SIZE)
    expected = net(image)
    with torch.autocast("cpu", torch.bfloat16):
        field, fields = net(image), net.pyramid(image)
    assert all(f.dtype == torch.float32 for f in (field, *fields))
    assert field.isfinite().all()
    assert (field - expected).abs().mean() < 0.2 * expected.abs().mean()


@torch.no_grad()
def test_autocast_computes_fields_in_float32() -> None:
    # Heads predict constants that half precision represents exactly, so only fields could be rounded.
    net, image = network(symmetric=False), pair(21, 64, 32, 32)
    for head in (*net.heads, net.detail_head):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, 0.3125)
    expected = net.pyramid(image)
    with torch.autocast("cpu", torch.bfloat16):
        fields = net.pyramid(image)
    assert expected[-1].abs().min() > 0.1
    for field, other in zip(fields, expected, strict=True):
        torch.testing.assert_close(field, other, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@torch.no_grad()
def test_ndv_of_random_heads_is_below_a_thousandth_of_a_percent(seed: int) -> None:
    size = (64, 80, 64)
    net, image = network(seed), pair(seed, *size, sigma=3.0)
    weights = [torch.randn(head.weight.shape) for head in net.heads]
    low, high = 1e-2, 4.0
    for _ in range(10):  # bisection to fields of 8 voxels on average
        scale = (low * high) ** 0.5
        for head, weight in zip(net.heads, weights, strict=True):
            head.weight.copy_(scale * weight)
        field = net(image)
        displacement = field.norm(dim=1).mean()
        low, high = (scale, high) if displacement < 8 else (low, scale)
        if abs(displacement - 8) < 0.7:
            break
    assert 7 < displacement < 9
    assert non_diffeomorphic_volume(field[0], torch.ones(size)) < 0.001
