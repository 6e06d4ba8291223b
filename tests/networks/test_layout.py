"""Channels last in memory: on the CPU in half precision, all the way, and without another answer."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from scripts.networks import MSFB, MSFBNet
from scripts.networks.normalization import RectifiedNorm
from tests.networks.examples import SIZE, pair, set_in_motion


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def channels_last(image: Tensor) -> Tensor:
    return image.to(memory_format=torch.channels_last_3d)


def is_channels_last(image: Tensor) -> bool:
    return image.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("batch", [1, 2])
def test_normalization_keeps_the_layout_and_says_the_same(batch: int) -> None:
    image = random(0, batch, 3, 5, 6, 4) + 2
    norm = RectifiedNorm(3, 0.2)
    norm.weight.data, norm.bias.data = random(1, 3), random(2, 3)
    normalised = norm(channels_last(image))
    assert is_channels_last(normalised)
    assert not is_channels_last(norm(image))
    assert_close(normalised, norm(image), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("comparison", ["none", "difference", "correlation"])
def test_a_block_says_the_same_in_either_layout(comparison: str) -> None:
    block = MSFB(8, has_high=True, comparison=comparison)
    fixed, moving, field = random(0, 1, 16, 6, 4, 8), random(1, 1, 16, 6, 4, 8), random(2, 1, 3, 6, 4, 8)
    ways = zip(
        block.both_ways(channels_last(fixed), channels_last(moving), field),
        block.both_ways(fixed, moving, field),
        strict=True,
    )
    for fused, expected in ways:
        assert_close(fused, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("bf16", "gradient", "expected"), [(True, False, True), (True, True, True), (False, False, False)]
)
def test_only_half_precision_has_channels_last_and_then_everywhere(bf16: bool, gradient: bool, expected: bool) -> None:
    network = set_in_motion(MSFBNet())
    layouts = set()
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.LeakyReLU | RectifiedNorm):
            module.register_forward_hook(lambda _, __, output: layouts.add(is_channels_last(output)))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), torch.set_grad_enabled(gradient):
        network(pair(0, *SIZE))
    assert layouts == {expected}


def test_channels_last_moves_the_field_by_rounding_only() -> None:
    network, image = set_in_motion(MSFBNet()), pair(0, *SIZE)
    with torch.no_grad():
        exact = network(image)
    with torch.autocast("cpu", torch.bfloat16):
        plain = network(image).detach()
        with torch.no_grad():
            laid_out = network(image)
    assert (laid_out - plain).norm(dim=1).mean() < 1.5 * (plain - exact).norm(dim=1).mean()
