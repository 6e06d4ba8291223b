# SPDX-License-Identifier: Apache-2.0
"""Real scans, deformed at random: image, target and label map of a scan stay together."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from torch import Tensor

from scripts.synthesis import RandDeformPaird

SIZE = (48, 40, 36)
LEFT, RIGHT = 1, 2


def scans() -> dict[str, Tensor]:
    """Two scans of one ellipsoid, its halves of intensity 0.4 and 0.8."""
    places = np.indices(SIZE) - np.reshape([n / 2 - 0.5 for n in SIZE], (3, 1, 1, 1))
    inside = (places / np.reshape([16, 13, 12], (3, 1, 1, 1))) ** 2
    labels = np.where(places[0] < 0, LEFT, RIGHT) * (inside.sum(axis=0) < 1)
    label = torch.from_numpy(labels[None].astype(np.int32))
    return {"image": 0.4 * label.float().repeat(2, 1, 1, 1), "fixed_label": label, "moving_label": label}


def pairs(count: int, **options) -> list[dict]:
    transform = RandDeformPaird(**options).set_random_state(seed=0)
    return [transform(scans()) for _ in range(count)]


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (48, 48, 48)),  # rounded up to multiples of 16
        ({"multiple": 4}, (48, 40, 36)),
        ({"multiple": 4, "spacing": 2}, (24, 20, 20)),
        ({"size": (16, 32, 16)}, (16, 32, 16)),
    ],
    ids=str,
)
def test_images_target_and_labels_have_one_size(options: dict, size: tuple[int, ...]) -> None:
    made = pairs(1, **options)[0]
    assert made["image"].shape == made["target"].shape == (2, *size)
    assert made["fixed_label"].shape == made["moving_label"].shape == (1, *size)
    assert made["image"].min() >= 0 and made["image"].max() == 1


@pytest.mark.parametrize("spacing", [1, 2])
def test_a_label_map_moves_with_its_scan(spacing: int) -> None:
    for made in pairs(4, spacing=spacing):
        for channel, key in enumerate(("fixed_label", "moving_label")):
            for value in (LEFT, RIGHT):
                inside = binary_erosion(made[key][0].numpy() == value, iterations=3)
                assert inside.any()
                assert (made["target"][channel][inside] - 0.4 * value).abs().max() < 1e-3
                assert made["image"][channel][inside].std() > 1e-3  # texture and noise


@pytest.mark.parametrize(("spacing", "size"), [(2, (49, 41, 37)), (4, (95, 81, 78))])
def test_a_label_map_moves_with_its_scan_if_the_size_is_no_multiple(spacing: int, size: tuple[int, ...]) -> None:
    places = torch.arange(size[0]).view(-1, 1, 1).expand(size)
    item = {"image": (places / 64).repeat(2, 1, 1, 1), "fixed_label": places[None]}
    made = RandDeformPaird(spacing, multiple=4).set_random_state(seed=0)(item)
    far = binary_erosion(made["fixed_label"][0] > size[0] // 2, iterations=2)
    # Labels are places rounded to whole numbers, half of them up.
    assert abs(64 * made["target"][0] - made["fixed_label"][0])[far].mean() < 0.3
    assert abs((64 * made["target"][0] - made["fixed_label"][0])[far].mean()) < 0.1


def test_each_scan_is_deformed_for_itself_and_by_little() -> None:
    for made in pairs(4, multiple=4):
        centers = [np.argwhere(made[key][0].numpy() > 0).mean(axis=0) for key in ("fixed_label", "moving_label")]
        assert not np.allclose(*centers, atol=0.1)
        for center in centers:
            assert np.linalg.norm(center - (np.array(SIZE) - 1) / 2) < 12
        assert not torch.equal(made["fixed_label"], made["moving_label"])


def test_half_of_the_pairs_are_flipped_and_always_both_scans() -> None:
    def flipped(labels: Tensor) -> bool:
        left, right = (np.argwhere(labels[0].numpy() == value)[:, 0].mean() for value in (LEFT, RIGHT))
        return bool(left > right)

    made = [(flipped(pair["fixed_label"]), flipped(pair["moving_label"])) for pair in pairs(40)]
    assert all(fixed == moving for fixed, moving in made)
    assert 8 < sum(fixed for fixed, _ in made) < 32


def test_pairs_follow_the_seed_and_scans_need_no_labels() -> None:
    first, second = pairs(2)
    assert torch.equal(first["image"], pairs(1)[0]["image"])
    assert not torch.equal(first["image"], second["image"])
    made = RandDeformPaird().set_random_state(seed=0)({"image": scans()["image"]})
    assert torch.equal(made["image"], first["image"]) and "fixed_label" not in made
