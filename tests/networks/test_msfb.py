# SPDX-License-Identifier: Apache-2.0
"""The parts of the network: encoder, auxiliary decoder, gates and fusion block."""

import pytest
import torch
from monai.networks.blocks import ChannelSELayer
from torch import Tensor

from scripts.networks import MSFB, AuxiliaryDecoder, Encoder
from scripts.networks.msfb import LocalAttention

CHANNELS = (8, 16, 32)
SIZE = (12, 8, 16)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def block(seed: int = 0, **options) -> MSFB:
    torch.manual_seed(seed)
    return MSFB(8, **{"has_high": True, "fusion": "attention", "attention": "both", "comparison": "none"} | options)


# --- encoder and auxiliary decoder ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(4, 4, 4), (12, 8, 16)])
def test_features_halve_in_size_from_scale_to_scale(size: tuple[int, ...]) -> None:
    expected = [(2, c, *(n // 2**scale for n in size)) for scale, c in enumerate(CHANNELS)]
    low = Encoder(CHANNELS)(random(0, 2, 1, *size))
    assert [tuple(features.shape) for features in low] == expected
    high = AuxiliaryDecoder(CHANNELS)(low)
    assert [tuple(features.shape) for features in high] == expected


def test_low_level_features_change_no_coarser_high_level_ones() -> None:
    decoder = AuxiliaryDecoder(CHANNELS)
    low = [random(scale, 1, c, *(n // 2**scale for n in SIZE)) for scale, c in enumerate(CHANNELS)]
    high = decoder(low)
    changed = decoder([*low[:2], low[2] + 1])
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(high, changed, strict=True))
    # The finest low-level features change no coarser scale.
    changed = decoder([low[0] + 1, *low[1:]])
    assert (high[0] - changed[0]).abs().max() > 1e-4
    assert torch.equal(high[1], changed[1]) and torch.equal(high[2], changed[2])


# --- gates ------------------------------------------------------------------------------------------------------------


def test_local_gates_are_in_0_to_1_and_differ_by_voxel_and_channel() -> None:
    features = random(1, 2, 16, *SIZE)
    torch.manual_seed(0)
    gate = LocalAttention(16)(features) / features
    assert gate.min() > 0 and gate.max() < 1
    assert gate.std(dim=(2, 3, 4)).min() > 1e-3
    assert gate.std(dim=1).min() > 1e-3


def test_local_gate_depends_on_its_neighborhood_only() -> None:
    torch.manual_seed(0)
    attention, features = LocalAttention(16), random(2, 1, 16, 24, 3, 3)
    changed = features.clone()
    changed[:, :, 11] += 3
    change = (attention(changed) - attention(features)).abs().amax(dim=(0, 1, 3, 4)) > 1e-6
    change[11] = False
    distances = change.nonzero().flatten() - 11
    assert distances.min() in range(-7, -2) and distances.max() in range(3, 8)


def test_global_gate_of_a_channel_depends_on_the_whole_volume() -> None:
    attention = block(attention="global").global_attention
    assert isinstance(attention, ChannelSELayer)
    features = random(3, 2, 32, *SIZE)
    gate = attention(features) / features
    assert gate.min() > 0 and gate.max() < 1
    assert gate.std(dim=(2, 3, 4)).max() < 1e-5
    assert gate.mean(dim=(2, 3, 4)).std(dim=1).min() > 1e-3
    changed = features.clone()
    changed[..., -1, -1, -1] += 500
    assert ((attention(changed) - attention(features))[..., 0, 0, 0].abs() > 1e-5).any()


# --- fusion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_high", [True, False])
@pytest.mark.parametrize("fusion", ["attention", "concat", "add"])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 1), (6, 4, 5)])
def test_fused_features_have_the_channels_of_the_scale(has_high: bool, fusion: str, size: tuple[int, ...]) -> None:
    msfb = block(has_high=has_high, fusion=fusion)
    fixed, moving = (random(seed, 2, 16 if has_high else 8, *size) for seed in (4, 5))
    assert msfb(fixed, moving, random(6, 2, 3, *size)).shape == (2, 8, *size)


@pytest.mark.parametrize(
    ("options", "gates"),
    [
        ({"attention": "both"}, [ChannelSELayer, LocalAttention]),
        ({"attention": "global"}, [ChannelSELayer]),
        ({"attention": "local"}, [LocalAttention]),
        ({"fusion": "concat"}, []),
        ({"fusion": "add"}, []),
    ],
    ids=str,
)
def test_options_select_the_gates(options: dict, gates: list[type]) -> None:
    modules = list(block(**options).modules())
    assert [kind for kind in (ChannelSELayer, LocalAttention) if any(isinstance(m, kind) for m in modules)] == gates


def test_add_sums_low_and_high_level_features() -> None:
    msfb = block(fusion="add")
    low, high, moving = random(7, 1, 8, 4, 4, 4), random(8, 1, 8, 4, 4, 4), random(9, 1, 16, 4, 4, 4)
    field = random(10, 1, 3, 4, 4, 4)
    low_high, high_low = torch.cat([low, high], dim=1), torch.cat([high, low], dim=1)
    torch.testing.assert_close(msfb(low_high, moving, field), msfb(high_low, moving, field))
    concat = block(fusion="concat")
    assert (concat(low_high, moving, field) - concat(high_low, moving, field)).abs().max() > 1e-3


@pytest.mark.parametrize("what", ["fixed low", "fixed high", "moving low", "moving high", "field"])
def test_fused_features_depend_on_every_input(what: str) -> None:
    msfb = block()
    inputs = {
        "fixed": random(11, 1, 16, 4, 5, 6),
        "moving": random(12, 1, 16, 4, 5, 6),
        "field": torch.zeros(1, 3, 4, 5, 6),
    }
    before = msfb(**inputs)
    name, *level = what.split()
    channels = slice(None) if not level else slice(8) if level == ["low"] else slice(8, None)
    inputs[name] = inputs[name].clone()
    inputs[name][:, channels] += 1
    assert (msfb(**inputs) - before).abs().max() > 1e-3


# --- comparison of both images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["attention", "add"])
@pytest.mark.parametrize("comparison", ["none", "difference", "correlation"])
def test_both_orders_are_the_pair_and_the_swapped_pair(fusion: str, comparison: str) -> None:
    msfb = block(fusion=fusion, comparison=comparison)
    fixed, moving, field = random(45, 1, 16, *SIZE), random(46, 1, 16, *SIZE), random(47, 1, 3, *SIZE)
    forward, backward = msfb.both_orders(fixed, moving, field)
    torch.testing.assert_close(forward, msfb(fixed, moving, field))
    torch.testing.assert_close(backward, msfb(moving, fixed, -field))


@pytest.mark.parametrize("comparison", ["difference", "correlation"])
def test_fused_features_depend_on_the_comparison(comparison: str) -> None:
    features = [random(seed, 1, 16, *SIZE) for seed in (41, 42)]
    field = torch.zeros(1, 3, *SIZE)
    compared = block(comparison=comparison)
    with torch.no_grad():
        # Zero weights for all inputs that a block without comparison has: 2 * 16 features and 3 of the field.
        compared.fuse[0][0].conv.weight[:, :35] = 0
    fused = compared(*features, field)
    assert (fused - compared(features[0], features[1].roll(3, 2), field)).abs().max() > 1e-3
