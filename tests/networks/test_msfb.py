"""The parts of the network: encoder, auxiliary decoder, gates and fusion block."""

import pytest
import torch
from monai.networks.blocks import ChannelSELayer
from torch import Tensor

from scripts.networks import MSFB, AuxiliaryDecoder, Encoder
from scripts.networks.msfb import LocalAttention, local_correlation, swapped_correlation

CHANNELS = (8, 16, 32)
SIZE = (12, 8, 16)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def block(seed: int = 0, **options) -> MSFB:
    torch.manual_seed(seed)
    return MSFB(8, **{"has_high": True, **options})


# --- encoder and auxiliary decoder ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(4, 4, 4), (12, 8, 16)])
def test_every_scale_has_its_channels_and_half_the_size_of_the_one_before(size: tuple[int, ...]) -> None:
    expected = [(2, c, *(n // 2**scale for n in size)) for scale, c in enumerate(CHANNELS)]
    low = Encoder(CHANNELS)(random(0, 2, 1, *size))
    assert [tuple(features.shape) for features in low] == expected
    high = AuxiliaryDecoder(CHANNELS)(low)
    assert [tuple(features.shape) for features in high] == expected


def test_high_level_features_bring_the_coarse_scales_to_the_finest() -> None:
    decoder = AuxiliaryDecoder(CHANNELS)
    low = [random(scale, 1, c, *(n // 2**scale for n in SIZE)) for scale, c in enumerate(CHANNELS)]
    high = decoder(low)
    changed = decoder([*low[:2], low[2] + 1])
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(high, changed, strict=True))
    # Top-down: the finest low-level features reach no coarser scale.
    changed = decoder([low[0] + 1, *low[1:]])
    assert (high[0] - changed[0]).abs().max() > 1e-4
    assert torch.equal(high[1], changed[1]) and torch.equal(high[2], changed[2])


# --- gates ------------------------------------------------------------------------------------------------------------


def test_local_gate_is_between_0_and_1_and_differs_between_voxels_and_channels() -> None:
    features = random(1, 2, 16, *SIZE)
    torch.manual_seed(0)
    gate = LocalAttention(16)(features) / features
    assert gate.min() > 0 and gate.max() < 1
    assert gate.std(dim=(2, 3, 4)).min() > 1e-3
    assert gate.std(dim=1).min() > 1e-3


def test_local_gate_sees_its_neighbourhood_only() -> None:
    torch.manual_seed(0)
    attention, features = LocalAttention(16), random(2, 1, 16, 24, 3, 3)
    poked = features.clone()
    poked[:, :, 11] += 3
    change = (attention(poked) - attention(features)).abs().amax(dim=(0, 1, 3, 4)) > 1e-6
    change[11] = False
    seen = change.nonzero().flatten() - 11
    assert seen.min() in range(-7, -2) and seen.max() in range(3, 8)


def test_global_gate_of_one_channel_is_one_number_that_the_whole_volume_decides() -> None:
    attention = block(attention="global").global_attention
    assert isinstance(attention, ChannelSELayer)
    features = random(3, 2, 32, *SIZE)
    gate = attention(features) / features
    assert gate.min() > 0 and gate.max() < 1
    assert gate.std(dim=(2, 3, 4)).max() < 1e-5
    assert gate.mean(dim=(2, 3, 4)).std(dim=1).min() > 1e-3
    poked = features.clone()
    poked[..., -1, -1, -1] += 500
    assert ((attention(poked) - attention(features))[..., 0, 0, 0].abs() > 1e-5).any()


# --- fusion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_high", [True, False])
@pytest.mark.parametrize("fusion", ["attention", "concat", "add"])
@pytest.mark.parametrize("attention", ["both", "global", "local", "none"])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 1), (6, 4, 5)])
def test_any_size_fuses_to_the_channels_of_the_scale(
    has_high: bool, fusion: str, attention: str, size: tuple[int, ...]
) -> None:
    msfb = block(has_high=has_high, fusion=fusion, attention=attention)
    fixed, moving = (random(seed, 2, 16 if has_high else 8, *size) for seed in (4, 5))
    assert msfb(fixed, moving, random(6, 2, 3, *size)).shape == (2, 8, *size)


@pytest.mark.parametrize(("attention", "kinds"), [("both", 2), ("global", 1), ("local", 1), ("none", 0)])
def test_attention_says_which_gates_there_are(attention: str, kinds: int) -> None:
    msfb = block(attention=attention)
    gates = [m for m in msfb.modules() if isinstance(m, ChannelSELayer | LocalAttention)]
    assert len(gates) == kinds
    assert any(isinstance(m, ChannelSELayer) for m in gates) == (attention in ("both", "global"))
    assert any(isinstance(m, LocalAttention) for m in gates) == (attention in ("both", "local"))


@pytest.mark.parametrize("fusion", ["concat", "add"])
def test_only_attention_has_gates(fusion: str) -> None:
    assert not [m for m in block(fusion=fusion).modules() if isinstance(m, ChannelSELayer | LocalAttention)]


def test_add_takes_the_sum_of_low_and_high_level_features() -> None:
    msfb = block(fusion="add")
    low, high, moving = random(7, 1, 8, 4, 4, 4), random(8, 1, 8, 4, 4, 4), random(9, 1, 16, 4, 4, 4)
    field = random(10, 1, 3, 4, 4, 4)
    low_high, high_low = torch.cat([low, high], dim=1), torch.cat([high, low], dim=1)
    torch.testing.assert_close(msfb(low_high, moving, field), msfb(high_low, moving, field))
    concat = block(fusion="concat")
    assert (concat(low_high, moving, field) - concat(high_low, moving, field)).abs().max() > 1e-3


@pytest.mark.parametrize("what", ["fixed low", "fixed high", "moving low", "moving high", "field"])
def test_every_input_matters(what: str) -> None:
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


@pytest.mark.parametrize("options", [{"fusion": "sum"}, {"fusion": ""}, {"attention": "all"}, {"attention": "Both"}])
def test_unknown_option_is_refused_by_name(options: dict[str, str]) -> None:
    (name, value), *_ = options.items()
    with pytest.raises(ValueError, match=f"{name} is .*, not {value}"):
        block(**options)


# --- comparison of both images ----------------------------------------------------------------------------------------


def test_local_correlation_is_highest_at_the_shift_between_the_images() -> None:
    fixed = random(40, 1, 64, 8, 8, 8)
    moving = fixed.roll((1, 0, -1), dims=(2, 3, 4))
    inside = local_correlation(fixed, moving)[:, :, 1:-1, 1:-1, 1:-1]
    assert inside.shape[1] == 27
    # Offsets in the order of the array axes: (1, 0, -1) is number 2 * 9 + 1 * 3 + 0.
    assert (inside.argmax(dim=1) == 21).all()
    torch.testing.assert_close(inside[:, 21], fixed.square().mean(dim=1)[:, 1:-1, 1:-1, 1:-1])


def test_local_correlation_sees_nothing_beyond_the_border() -> None:
    ones = torch.ones(1, 4, 3, 3, 3)
    assert local_correlation(ones, ones)[0, :, 0, 0, 0].sum() == 8
    assert local_correlation(ones, ones)[0, :, 1, 1, 1].sum() == 27


def test_correlation_is_swapped_without_correlating_again() -> None:
    fixed, moving = random(43, 2, 4, 5, 3, 4), random(44, 2, 4, 5, 3, 4)
    expected = local_correlation(moving, fixed)
    torch.testing.assert_close(swapped_correlation(local_correlation(fixed, moving)), expected)


@pytest.mark.parametrize("fusion", ["attention", "add"])
@pytest.mark.parametrize("comparison", ["none", "difference", "correlation"])
def test_both_ways_are_the_pair_and_the_swapped_one(fusion: str, comparison: str) -> None:
    msfb = block(fusion=fusion, comparison=comparison)
    fixed, moving, field = random(45, 1, 16, *SIZE), random(46, 1, 16, *SIZE), random(47, 1, 3, *SIZE)
    there, back = msfb.both_ways(fixed, moving, field)
    torch.testing.assert_close(there, msfb(fixed, moving, field))
    torch.testing.assert_close(back, msfb(moving, fixed, -field))


@pytest.mark.parametrize("comparison", ["difference", "correlation"])
def test_a_comparison_adds_to_what_is_fused(comparison: str) -> None:
    features = [random(seed, 1, 16, *SIZE) for seed in (41, 42)]
    field = torch.zeros(1, 3, *SIZE)
    compared = block(comparison=comparison)
    with torch.no_grad():
        # Silence what a plain block sees: what is left answers to the comparison alone.
        compared.fuse[0][0].conv.weight[:, :35] = 0
    answer = compared(*features, field)
    assert (answer - compared(features[0], features[1].roll(3, 2), field)).abs().max() > 1e-3
