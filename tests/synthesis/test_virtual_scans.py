# SPDX-License-Identifier: Apache-2.0
"""Virtual pairs from label maps: images, targets and label maps of one anatomy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from torch import Tensor

from scripts.synthesis.virtual_scans import RandSynthesizePaird
from tests.synthesis.examples import GRAY, SKIN, WHITE, head


def pair(seed: int = 0, **options) -> dict:
    transform = RandSynthesizePaird(**options).set_random_state(seed=seed)
    return transform({"fixed_label": head(), "moving_label": head(1.0)})


def inside(labels: Tensor, value: int) -> np.ndarray:
    """Voxels of a label, two away from any other."""
    return binary_erosion(labels[0].numpy() == value, iterations=2)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (48, 64, 48)),
        ({"spacing": 2}, (32, 32, 32)),  # 24 x 32 x 24, rounded up to multiples of 16
        ({"size": (16, 32, 16)}, (16, 32, 16)),
    ],
    ids=str,
)
def test_images_target_and_labels_have_one_size(options: dict, size: tuple[int, ...]) -> None:
    made = pair(**options)
    assert made["image"].shape == (2, *size) and made["target"].shape == (4, *size)
    assert made["fixed_label"].shape == made["moving_label"].shape == (1, *size)
    assert made["image"].dtype == made["target"].dtype == torch.float32
    assert made["image"].min() >= 0 and made["image"].max() == 1


def test_pairs_follow_the_seed() -> None:
    first, again, other = pair(1), pair(1), pair(2)
    for key in ("image", "target", "fixed_label", "moving_label"):
        assert torch.equal(first[key], again[key])
        assert not torch.equal(first[key], other[key])


def test_second_call_makes_another_pair() -> None:
    transform = RandSynthesizePaird().set_random_state(seed=0)
    maps = {"fixed_label": head(), "moving_label": head()}
    assert not torch.equal(transform(maps)["image"], transform(maps)["image"])


@pytest.mark.parametrize("seed", range(5))
def test_target_has_one_value_per_label_in_both_scans(seed: int) -> None:
    made = pair(seed, head_probability=1)
    for value in (WHITE, GRAY):
        fixed, moving = inside(made["fixed_label"], value), inside(made["moving_label"], value)
        assert fixed.any() and moving.any()
        for channel in (0, 1):
            values = torch.cat([made["target"][channel][fixed], made["target"][channel + 2][moving]])
            # Some voxels at the border of the eroded label are interpolated.
            assert ((values - values.median()).abs() < 1e-4).float().mean() > 0.9
    assert made["target"][0][inside(made["fixed_label"], WHITE)].mean() > 0.8


def test_one_map_makes_two_different_anatomies() -> None:
    transform = RandSynthesizePaird().set_random_state(seed=3)
    made = transform({"fixed_label": head(), "moving_label": head()})
    same = (made["fixed_label"] == made["moving_label"])[made["fixed_label"] > 0].float().mean()
    assert 0.3 < same < 0.97


@pytest.mark.parametrize("seed", range(4))
def test_skull_stripping_keeps_the_brain_and_removes_skin(seed: int) -> None:
    stripped, whole = (pair(seed, head_probability=p) for p in (0, 1))
    for role, channel in (("fixed_label", 0), ("moving_label", 1)):
        brain = inside(stripped[role], WHITE)
        assert (stripped["target"][2 * channel][brain] > 0).all()
        skin = (stripped[role][0] == SKIN).numpy()
        assert (stripped["image"][channel][skin] > 0).float().mean() < 0.6
        skin = (whole[role][0] == SKIN).numpy()
        assert (whole["target"][2 * channel][skin] > 0).float().mean() > 0.9


def test_half_of_the_pairs_are_flipped_and_always_both_scans() -> None:
    labels = torch.zeros(1, 48, 16, 16, dtype=torch.int16)
    labels[:, :24], labels[:, 24:] = WHITE, GRAY
    transform = RandSynthesizePaird().set_random_state(seed=0)
    made = [transform({"fixed_label": labels, "moving_label": labels}) for _ in range(60)]
    # 16 voxels from the border between the labels, further than displacements move it.
    fixed, moving = ([int(pair[key][0, 8, 8, 8]) == GRAY for pair in made] for key in ("fixed_label", "moving_label"))
    assert 15 < sum(fixed) < 45  # of 60
    assert fixed == moving


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pairs_are_made_on_a_gpu() -> None:
    made = pair(device="cuda")
    assert made["image"].is_cuda and made["image"].max() == 1
