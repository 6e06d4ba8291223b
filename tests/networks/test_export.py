"""The network outside eager mode: TorchScript and torch.export give the same field at any size."""

from pathlib import Path

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from scripts.networks import MSFBNet

SIZE = (32, 48, 16)

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


def pair(seed: int, *size: int) -> Tensor:
    noise = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(seed))
    image = torch.from_numpy(gaussian_filter(noise.numpy(), (0, 0, 2, 2, 2)))
    return (image - image.min()) / (image.max() - image.min())


@torch.no_grad()
def moving_network(**options) -> MSFBNet:
    """A network whose heads are random, and scaled to fields of 1 to 4 voxels on average."""
    torch.manual_seed(0)
    net = MSFBNet(**options).eval()
    for head in net.heads:
        torch.nn.init.normal_(head.weight, std=0.01)
    if net.detail_head is not None:
        torch.nn.init.normal_(net.detail_head.weight, std=0.1)
    image = pair(0, *SIZE)
    while not 1 < (displacement := net(image).norm(dim=1).mean()) < 4:
        for head in net.heads:
            head.weight.mul_((2 / displacement) ** 0.5)
    return net


@torch.no_grad()
def assert_same(actual: Tensor, network: MSFBNet, image: Tensor) -> None:
    expected = network(image)
    assert expected.norm(dim=1).mean() > 0.5
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_scripted_gives_the_same_field_and_pyramid_at_any_size(options: dict) -> None:
    network = moving_network(**options)
    scripted = torch.jit.script(network)
    for size in (SIZE, (16, 32, 32)):
        image = pair(0, *size)
        assert_same(scripted(image), network, image)
        for actual, expected in zip(scripted.pyramid(image), network.pyramid(image), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_scripted_survives_the_disk(tmp_path: Path) -> None:
    network, image = moving_network(), pair(1, *SIZE)
    torch.jit.script(network).save(tmp_path / "network.ts")
    loaded = torch.jit.load(tmp_path / "network.ts")
    assert_same(loaded(image), network, image)
    assert len(loaded.pyramid(image)) == 5


def test_scripted_refuses_wrong_images_too() -> None:
    scripted = torch.jit.script(moving_network())
    with pytest.raises(torch.jit.Error, match="multiples of 16"):
        scripted(torch.zeros(1, 2, 16, 24, 16))


@pytest.mark.slow
@torch.no_grad()
def test_exported_gives_the_same_field_at_any_size() -> None:
    network = moving_network(channels=(8, 8, 8))
    every_size = dict.fromkeys((2, 3, 4), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(network, (pair(3, *SIZE),), dynamic_shapes=(every_size,))
    for size in (SIZE, (16, 32, 32)):
        image = pair(2, *size)
        assert_same(exported.module()(image), network, image)
