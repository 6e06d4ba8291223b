# SPDX-License-Identifier: Apache-2.0
"""TorchScript and torch.export give the field of eager mode at any size."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from scripts.networks import MSFBNet
from tests.networks.examples import SIZE, moving_network, pair

OPTIONS = [
    {},
    {"comparison": "none", "iterations": 1, "symmetric": False, "detail": False},
    {"comparison": "difference", "attention": "global", "diffeomorphic": False, "auxiliary_decoder": False},
    {"fusion": "add", "field_scale": 0},
    {"fusion": "concat", "field_scale": 2, "channels": (4, 8, 8, 16)},
]


@torch.no_grad()
def assert_same(actual: Tensor, network: MSFBNet, image: Tensor) -> None:
    expected = network(image)
    assert expected.norm(dim=1).mean() > 0.5
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "options", OPTIONS[:1] + [pytest.param(o, marks=pytest.mark.slow) for o in OPTIONS[1:]], ids=str
)
@torch.no_grad()
def test_scripted_network_gives_the_same_fields(options: dict) -> None:
    network = moving_network(**options)
    scripted = torch.jit.script(network)
    for size in (SIZE, (16, 32, 32)):
        image = pair(0, *size)
        assert_same(scripted(image), network, image)
        for actual, expected in zip(scripted.pyramid(image), network.pyramid(image), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_scripted_network_can_be_saved(tmp_path: Path) -> None:
    network, image = moving_network(), pair(1, *SIZE)
    torch.jit.script(network).save(tmp_path / "network.ts")
    loaded = torch.jit.load(tmp_path / "network.ts")
    assert_same(loaded(image), network, image)
    assert len(loaded.pyramid(image)) == 5


def test_scripted_network_refuses_wrong_images() -> None:
    scripted = torch.jit.script(moving_network())
    with pytest.raises(torch.jit.Error, match="multiples of 16"):
        scripted(torch.zeros(1, 2, 16, 24, 16))


@pytest.mark.slow
@torch.no_grad()
def test_exported_network_gives_the_same_field() -> None:
    network = moving_network(least=1.0, channels=(4, 8, 8))
    every_size = dict.fromkeys((2, 3, 4), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(network, (pair(3, *SIZE),), dynamic_shapes=(every_size,))
    for size in (SIZE, (16, 32, 32)):
        image = pair(2, *size)
        assert_same(exported.module()(image), network, image)
