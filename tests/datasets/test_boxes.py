# SPDX-License-Identifier: Apache-2.0
"""Boxes of pairs at larger voxels: images are averaged, labels subsampled, both at the same position."""

from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from scripts.datasets.boxes import RandScaledBoxd

SIZE = (16, 12, 20)


def pair(size: tuple[int, int, int] = SIZE) -> dict[str, Any]:
    """A pair whose value is the index of the voxel, plus 1 in the moving scan; the labels equal the images."""
    index = torch.arange(size[0] * size[1] * size[2]).view(1, *size)
    image = MetaTensor(torch.cat([index, index + 1]).float(), affine=torch.eye(4))
    return {"image": image, "fixed_label": MetaTensor(index.int()), "moving_label": (index + 1).int(), "name": "a"}


def scaled_box(multiple: int = 16, **options: Any) -> RandScaledBoxd:
    return RandScaledBoxd("image", multiple, **options)


def boxes(transform: RandScaledBoxd, count: int) -> list[dict[Any, Any]]:
    torch.manual_seed(0)
    return [transform(pair()) for _ in range(count)]


def test_whole_pair_at_its_own_voxels_loses_only_metadata() -> None:
    given = pair()
    result = scaled_box(multiple=4)(given)
    assert result.keys() == given.keys()
    for key in ("image", "fixed_label", "moving_label"):
        assert type(result[key]) is Tensor
        assert torch.equal(result[key], given[key].as_subclass(Tensor))
        assert result[key].dtype == given[key].dtype


def test_images_are_averaged_and_labels_are_subsampled() -> None:
    result, given = scaled_box(spacing=2, multiple=2)(pair()), pair()
    blocks = given["image"].as_subclass(Tensor).reshape(2, 8, 2, 6, 2, 10, 2)
    torch.testing.assert_close(result["image"], blocks.mean(dim=(2, 4, 6)))
    assert torch.equal(result["fixed_label"], given["fixed_label"].as_subclass(Tensor)[:, ::2, ::2, ::2])
    assert result["moving_label"].dtype == torch.int32


@pytest.mark.parametrize("spacing", [1, 2])
def test_box_has_one_position_in_images_and_labels(spacing: int) -> None:
    # The mean index of a block of 2 voxels per axis is that of its first voxel plus half a step along each axis.
    offset = sum((spacing - 1) / 2 * step for step in (SIZE[1] * SIZE[2], SIZE[2], 1))
    for item in boxes(scaled_box(spacing=spacing, size=[4, 4, 8], multiple=4), 5):
        assert item["image"].shape == (2, 4, 4, 8)
        torch.testing.assert_close(item["image"][:1] - offset, item["fixed_label"].float())
        torch.testing.assert_close(item["image"][1:] - offset, item["moving_label"].float())


def test_boxes_reach_all_positions_and_follow_the_seed() -> None:
    transform = scaled_box(spacing=2, size=[6, 6, 8], multiple=2)
    found = boxes(transform, 60)
    # 16 x 12 x 20 voxels are 8 x 6 x 10 larger ones, so the box of 6 x 6 x 8 has 3 x 1 x 3 positions.
    first = [int(item["fixed_label"][0, 0, 0, 0]) for item in found]
    corners = {(index // (12 * 20) // 2, index % 20 // 2) for index in first}
    assert corners == {(along, across) for along in range(3) for across in range(3)}
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(found, boxes(transform, 60), strict=True))


def test_whole_pair_draws_no_random_number() -> None:
    for options in ({}, {"spacing": 2}):
        before = torch.get_rng_state()
        scaled_box(**options)(pair())
        assert torch.equal(torch.get_rng_state(), before)


def test_processes_cut_different_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    transform, found = scaled_box(size=[4, 4, 4], multiple=4), []
    for rank in (0, 1):
        monkeypatch.setattr("scripts.datasets.boxes.rank", lambda rank=rank: rank)
        found.append(boxes(transform, 1)[0]["image"])
    assert not torch.equal(*found)


@pytest.mark.parametrize(
    ("spacing", "size", "expected"),
    [
        (1, None, (16, 16, 32)),  # 16 x 12 x 20, rounded up to multiples of 16
        (2, None, (16, 16, 16)),  # 8 x 6 x 10
        (1, [8, 24, 20], (16, 32, 32)),  # larger than the scan along one axis, and no multiples
    ],
)
def test_zeros_are_padded_to_a_multiple_at_the_ends(spacing: int, size: list[int] | None, expected: tuple) -> None:
    item = boxes(scaled_box(spacing=spacing, size=size), 1)[0]
    filled = [min(n // spacing, m) for n, m in zip(SIZE, size or SIZE, strict=True)]
    for key in ("image", "moving_label"):
        assert item[key].shape[1:] == expected
        inside = item[key][:, : filled[0], : filled[1], : filled[2]]
        assert inside[-1:].min() > 0
        assert item[key].sum() == inside.sum()


def test_last_voxels_of_an_odd_size_are_dropped() -> None:
    item = scaled_box(spacing=2, multiple=1)(pair((5, 4, 7)))  # 5 // 2, 4 // 2, 7 // 2
    assert item["image"].shape == (2, 2, 2, 3)
    assert item["fixed_label"].shape == (1, 2, 2, 3)


def test_labels_are_optional() -> None:
    assert scaled_box(spacing=2)({"image": pair()["image"]}).keys() == {"image"}
