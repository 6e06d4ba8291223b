# SPDX-License-Identifier: Apache-2.0
"""The baselines: MONAI's fields in this project's order and units."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from scripts.networks.baselines import LocalNetBaseline, RegUNetBaseline, VoxelMorphBaseline
from scripts.spatial import warp


@pytest.fixture(scope="module")
def network() -> VoxelMorphBaseline:
    """An untrained network scaled to fields of some voxels."""
    torch.manual_seed(0)
    network = VoxelMorphBaseline().eval()
    with torch.no_grad():
        last = list(network.network.backbone.net[1].children())[-1].conv
        last.weight.mul_(100)  # its initial weights are tiny
    return network


@pytest.fixture(scope="module")
def image() -> Tensor:
    noise = torch.rand(2, 2, 3, 4, 2, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(noise, size=(24, 32, 16), mode="trilinear")


@torch.no_grad()
def test_field_is_that_of_monai(network: VoxelMorphBaseline, image: Tensor) -> None:
    fixed, moving = image[:, :1], image[:, 1:]
    moved, ddf = network.network(moving, fixed)
    field = network(image)
    torch.testing.assert_close(field, ddf, rtol=0, atol=1e-5)
    assert field.abs().mean() > 0.3
    assert (field - network(image.flip(1))).abs().mean() > 0.05  # the images are not swapped
    # Outside the image MONAI takes zeros and `warp` the border, so only positions inside are compared.
    positions = field + torch.stack(torch.meshgrid(*map(torch.arange, (24, 32, 16)), indexing="ij"))
    inside = ((positions >= 0) & (positions <= torch.tensor([23, 31, 15]).view(1, 3, 1, 1, 1))).all(1, keepdim=True)
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(warp(moving, field)[inside], moved[inside], rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_constant_velocity_is_a_translation_along_its_axis(axis: int) -> None:
    network = VoxelMorphBaseline()
    last = list(network.network.backbone.net[1].children())[-1].conv
    last.weight.zero_()
    last.bias.zero_()
    last.bias[axis] = 2.0
    # Towards the border MONAI's field decreases.
    center = network(torch.rand(1, 2, 32, 32, 32))[..., 12:-12, 12:-12, 12:-12]
    expected = torch.zeros_like(center)
    expected[:, axis] = 2.0
    torch.testing.assert_close(center, expected, rtol=0, atol=1e-4)


def test_sizes_are_multiples_of_eight(image: Tensor) -> None:
    network = VoxelMorphBaseline()
    assert network(torch.rand(1, 2, 8, 16, 24)).shape == (1, 3, 8, 16, 24)
    for shape in ((1, 2, 8, 12, 8), (1, 1, 8, 8, 8), (2, 8, 8, 8)):
        with pytest.raises(ValueError, match="multiples of 8"):
            network(torch.rand(shape))


def test_pyramid_is_the_field_and_every_weight_learns_from_it(image: Tensor) -> None:
    torch.manual_seed(0)
    network = VoxelMorphBaseline()
    (field,) = network.pyramid(image)
    torch.testing.assert_close(field, network(image))
    field.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_under_autocast_positions_keep_their_precision(network: VoxelMorphBaseline, image: Tensor) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        field = network(image)
    assert field.dtype == torch.float32
    # Steps of bf16 at 2 voxels are 1/64: the integration must not be rounded to them, as the velocity is.
    steps = (field * 64) % 1
    assert math.isclose(float((steps == 0).float().mean()), 0, abs_tol=0.2)


def test_construction_warns_of_nothing_and_weights_are_monais() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = VoxelMorphBaseline()
    assert {name.split(".")[0] for name in network.state_dict()} == {"network"}
    assert sum(parameter.numel() for parameter in network.parameters()) == 244_323


@pytest.mark.parametrize("kind", [LocalNetBaseline, RegUNetBaseline])
def test_other_baselines_start_from_no_displacement_and_see_the_moving_image_first(kind: type, image: Tensor) -> None:
    torch.manual_seed(0)
    network = kind().eval()
    with torch.no_grad():
        assert not network(image).any()
        for parameter in network.parameters():
            parameter.normal_(std=0.1)
        field = network(image)
        torch.testing.assert_close(field, network.network(image.flip(1)))
    assert field.shape == (2, 3, 24, 32, 16) and not torch.equal(field, network(image.flip(1)))
    with pytest.raises(ValueError, match="multiples of 8"):
        network(torch.rand(1, 2, 8, 12, 8))


@pytest.mark.parametrize("kind", [LocalNetBaseline, RegUNetBaseline])
def test_every_weight_of_other_baselines_learns(kind: type, image: Tensor) -> None:
    network = kind()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01)
    network.pyramid(image)[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
