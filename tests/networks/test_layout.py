# SPDX-License-Identifier: Apache-2.0
"""Channels-last memory: used by the whole network on the CPU in half precision, with the same results."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from scripts.networks import MSFB
from scripts.networks.normalization import RectifiedNorm
from tests.networks.examples import SIZE, moving_network, pair


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def channels_last(image: Tensor) -> Tensor:
    return image.to(memory_format=torch.channels_last_3d)


def is_channels_last(image: Tensor) -> bool:
    return image.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("batch", [1, 2])
def test_normalization_keeps_layout_and_values(batch: int) -> None:
    image = random(0, batch, 3, 5, 6, 4) + 2
    norm = RectifiedNorm(3, 0.2)
    norm.weight.data, norm.bias.data = random(1, 3), random(2, 3)
    normalized = norm(channels_last(image))
    assert is_channels_last(normalized)
    assert not is_channels_last(norm(image))
    assert_close(normalized, norm(image), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("comparison", ["none", "difference", "correlation"])
def test_block_gives_the_same_in_either_layout(comparison: str) -> None:
    block = MSFB(8, True, "attention", "both", comparison)
    fixed, moving, field = random(0, 1, 16, 6, 4, 8), random(1, 1, 16, 6, 4, 8), random(2, 1, 3, 6, 4, 8)
    orders = zip(
        block.both_orders(channels_last(fixed), channels_last(moving), field),
        block.both_orders(fixed, moving, field),
        strict=True,
    )
    for fused, expected in orders:
        assert_close(fused, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("bf16", "gradient"), [(True, False), (True, True), (False, False)])
def test_all_features_are_channels_last_in_half_precision_only(bf16: bool, gradient: bool) -> None:
    network = moving_network()
    layouts = set()
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.LeakyReLU | RectifiedNorm):
            module.register_forward_hook(lambda _, __, output: layouts.add(is_channels_last(output)))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), torch.set_grad_enabled(gradient):
        network(pair(0, *SIZE))
    assert layouts == {bf16}


def test_channels_last_changes_the_field_by_rounding_only() -> None:
    network, image = moving_network(), pair(0, *SIZE)
    with torch.no_grad():
        exact = network(image)
    with torch.autocast("cpu", torch.bfloat16):
        trained = network(image).detach()
        with torch.no_grad():
            inferred = network(image)
    assert (inferred - trained).norm(dim=1).mean() < 1.5 * (trained - exact).norm(dim=1).mean()
