"""The network outside eager mode: TorchScript and torch.export give the same field at any size."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from scripts.networks import MSFBNet
from tests.networks.examples import SIZE, pair, set_in_motion

OPTIONS = [
    {},
    {"comparison": "none", "iterations": 1, "symmetric": False, "detail": False},
    {"auxiliary_decoder": False},
    {"fusion": "add"},
    {"attention": "global"},
    {"attention": "none"},
    {"diffeomorphic": False},
    {"comparison": "difference"},
    {"field_scale": 0},
    {"field_scale": 2, "channels": (8, 16, 32), "symmetric": False},
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@torch.no_grad()
def assert_same(actual: Tensor, network: MSFBNet, image: Tensor) -> None:
    expected = network(image)
    assert expected.norm(dim=1).mean() > 0.5
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_scripted_gives_the_same_field_and_pyramid_at_any_size(options: dict) -> None:
    network = set_in_motion(MSFBNet(**options), least=1.0)
    scripted = torch.jit.script(network)
    for size in (SIZE, (16, 32, 32)):
        image = pair(0, *size)
        assert_same(scripted(image), network, image)
        for actual, expected in zip(scripted.pyramid(image), network.pyramid(image), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_scripted_survives_the_disk(tmp_path: Path) -> None:
    network, image = set_in_motion(MSFBNet(), least=1.0), pair(1, *SIZE)
    torch.jit.script(network).save(tmp_path / "network.ts")
    loaded = torch.jit.load(tmp_path / "network.ts")
    assert_same(loaded(image), network, image)
    assert len(loaded.pyramid(image)) == 5


def test_scripted_refuses_wrong_images_too() -> None:
    scripted = torch.jit.script(set_in_motion(MSFBNet(), least=1.0))
    with pytest.raises(torch.jit.Error, match="multiples of 16"):
        scripted(torch.zeros(1, 2, 16, 24, 16))


@pytest.mark.slow
@torch.no_grad()
def test_exported_gives_the_same_field_at_any_size() -> None:
    network = set_in_motion(MSFBNet(channels=(8, 8, 8)), least=1.0)
    every_size = dict.fromkeys((2, 3, 4), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(network, (pair(3, *SIZE),), dynamic_shapes=(every_size,))
    for size in (SIZE, (16, 32, 32)):
        image = pair(2, *size)
        assert_same(exported.module()(image), network, image)
