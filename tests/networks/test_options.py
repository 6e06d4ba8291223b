# SPDX-License-Identifier: Apache-2.0
"""The options of the network: effects, parameters, cost, refused values."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scripts.networks import MSFBNet
from tests.networks.examples import SIZE, moving_network, network, pair


def parameters(net: MSFBNet) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"auxiliary_decoder": False},
        {"fusion": "concat"},
        {"fusion": "add"},
        {"fusion": "add", "auxiliary_decoder": False},
        {"attention": "global"},
        {"attention": "local"},
        {"diffeomorphic": False},
        {"comparison": "none"},
        {"comparison": "difference"},
        {"iterations": 1},
        {"symmetric": False},
        {"detail": False},
        {"field_scale": 0},
        {"channels": (4, 4, 8, 8, 16)},
    ],
    ids=str,
)
@torch.no_grad()
def test_every_option_changes_the_field(options: dict) -> None:
    image = pair(15, *SIZE)
    field = moving_network(**options)(image)
    assert field.shape == (1, 3, *SIZE)
    assert field.isfinite().all() and field.abs().max() > 0.1
    assert (field - moving_network()(image)).abs().max() > 1e-2


@pytest.mark.parametrize(
    "options",
    [
        {"auxiliary_decoder": False},
        {"fusion": "concat"},
        {"attention": "global"},
        {"attention": "local"},
        {"comparison": "none"},
        {"detail": False},
    ],
    ids=str,
)
def test_without_a_part_there_are_fewer_parameters(options: dict) -> None:
    assert parameters(network(**options)) < parameters(network())


def test_parameters_do_not_depend_on_the_images() -> None:
    net = moving_network()
    before = {name: value.shape for name, value in net.state_dict().items()}
    with torch.no_grad():
        net(pair(13, *SIZE))
        net(pair(14, 16, 16, 16))
    assert {name: value.shape for name, value in net.state_dict().items()} == before
    assert set(before) == {name for name, _ in net.named_parameters()}


def test_only_a_change_of_channels_adds_a_convolution_to_upsampling() -> None:
    # Weights of earlier versions have these names.
    names = [name for name in MSFBNet([8, 8, 16]).state_dict() if name.startswith("auxiliary_decoder.upsamples")]
    assert names == ["auxiliary_decoder.upsamples.0.preconv.weight", "auxiliary_decoder.upsamples.0.preconv.bias"]


def test_default_network_has_about_three_million_parameters() -> None:
    assert parameters(MSFBNet()) <= 3_100_000


@torch.no_grad()
def test_default_network_takes_at_most_50_gmacs() -> None:
    # On the meta device nothing is computed, but every convolution is counted.
    with FlopCounterMode(display=False) as counter:
        MSFBNet().to("meta")(torch.zeros(1, 2, 96, 112, 96, device="meta"))
    assert 5 < counter.get_total_flops() / 2e9 <= 50


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["forward", "pyramid"])
@pytest.mark.parametrize("shape", [(1, 1, 16, 16, 16), (1, 3, 16, 16, 16), (2, 16, 16, 16), (1, 2, 16, 16)])
def test_other_shapes_are_refused(method: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="fixed and moving") as error:
        getattr(network(), method)(torch.zeros(shape))
    assert str(list(shape)) in str(error.value)


@pytest.mark.parametrize(("scales", "multiple"), [(5, 16), (3, 4)])  # 2 ** (scales - 1)
@pytest.mark.parametrize("axis", [2, 3, 4])
def test_size_that_cannot_be_halved_is_refused(scales: int, multiple: int, axis: int) -> None:
    shape = [1, 2, 32, 32, 32]
    shape[axis] = 34
    with pytest.raises(ValueError, match=f"multiples of {multiple}, not .*34"):
        network(channels=[4] * scales)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field_scale": -1}, "field_scale is between 0 and 4, not -1"),
        ({"field_scale": 5}, "field_scale is between 0 and 4, not 5"),
        ({"iterations": 0}, "iterations is a number from 1, not 0"),
        ({"fusion": "sum"}, "fusion is attention, concat or add, not sum"),
        ({"fusion": ""}, "fusion is attention, concat or add, not "),
        ({"attention": "none"}, "attention is both, global or local, not none"),
        ({"attention": "Both"}, "attention is both, global or local, not Both"),
        ({"comparison": "sum"}, "comparison is none, difference or correlation, not sum"),
    ],
)
def test_unknown_value_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        network(**options)
