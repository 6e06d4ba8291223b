"""Boxes of pairs at larger voxels: what is averaged, what is kept, and that images and labels stay together."""

from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from scripts.datasets.boxes import RandScaledBoxd

SIZE = (16, 12, 20)


def pair(size: tuple[int, int, int] = SIZE) -> dict[str, Any]:
    """A pair whose values tell their place; those of the labels are those of the images."""
    places = torch.arange(size[0] * size[1] * size[2]).view(1, *size)
    image = MetaTensor(torch.cat([places, places + 1]).float(), affine=torch.eye(4))
    return {"image": image, "fixed_label": MetaTensor(places.int()), "moving_label": (places + 1).int(), "name": "a"}


def boxes(transform: RandScaledBoxd, count: int) -> list[dict[Any, Any]]:
    torch.manual_seed(0)
    return [transform(pair()) for _ in range(count)]


def test_nothing_changes_but_that_metadata_is_gone() -> None:
    given = pair()
    result = RandScaledBoxd(multiple=4)(given)
    assert result.keys() == given.keys()
    for key in ("image", "fixed_label", "moving_label"):
        assert type(result[key]) is Tensor
        assert torch.equal(result[key], given[key].as_subclass(Tensor))
        assert result[key].dtype == given[key].dtype


def test_images_are_averaged_and_labels_keep_every_second_voxel() -> None:
    result, given = RandScaledBoxd(spacing=2, multiple=2)(pair()), pair()
    blocks = given["image"].as_subclass(Tensor).reshape(2, 8, 2, 6, 2, 10, 2)
    torch.testing.assert_close(result["image"], blocks.mean(dim=(2, 4, 6)))
    assert torch.equal(result["fixed_label"], given["fixed_label"].as_subclass(Tensor)[:, ::2, ::2, ::2])
    assert result["moving_label"].dtype == torch.int32


@pytest.mark.parametrize("spacing", [1, 2])
def test_box_is_at_one_place_in_images_and_labels(spacing: int) -> None:
    # The mean of a block's places is that of its first voxel and half a step along each axis.
    offset = sum((spacing - 1) / 2 * step for step in (SIZE[1] * SIZE[2], SIZE[2], 1))
    for item in boxes(RandScaledBoxd(spacing=spacing, size=[4, 4, 8], multiple=4), 5):
        assert item["image"].shape == (2, 4, 4, 8)
        torch.testing.assert_close(item["image"][:1] - offset, item["fixed_label"].float())
        torch.testing.assert_close(item["image"][1:] - offset, item["moving_label"].float())


def test_boxes_reach_both_ends_and_come_again_from_the_same_seed() -> None:
    transform = RandScaledBoxd(spacing=2, size=[6, 6, 8], multiple=2)
    found = boxes(transform, 60)
    corners = {
        (int(item["fixed_label"][0, 0, 0, 0]) // 240 // 2, int(item["fixed_label"][0, 0, 0, 0]) % 20 // 2)
        for item in found
    }
    assert corners == {(along, across) for along in range(3) for across in range(3)}
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(found, boxes(transform, 60), strict=True))


def test_all_of_a_pair_is_not_drawn() -> None:
    for options in ({}, {"spacing": 2}):
        before = torch.get_rng_state()
        RandScaledBoxd(**options)(pair())
        assert torch.equal(torch.get_rng_state(), before)


def test_processes_take_different_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    transform, found = RandScaledBoxd(size=[4, 4, 4], multiple=4), []
    for rank in (0, 1):
        monkeypatch.setattr("scripts.datasets.boxes.rank", lambda rank=rank: rank)
        found.append(boxes(transform, 1)[0]["image"])
    assert not torch.equal(*found)


@pytest.mark.parametrize(
    ("spacing", "size", "expected"),
    [
        (1, None, (16, 16, 32)),
        (2, None, (16, 16, 16)),
        (1, [8, 24, 20], (16, 32, 32)),  # larger than the scan along one axis, and no multiples
    ],
)
def test_zeros_fill_up_to_a_multiple_at_the_ends(spacing: int, size: list[int] | None, expected: tuple) -> None:
    item = boxes(RandScaledBoxd(spacing=spacing, size=size), 1)[0]
    filled = [min(n // spacing, m) for n, m in zip(SIZE, size or SIZE, strict=True)]
    for key in ("image", "moving_label"):
        assert item[key].shape[1:] == expected
        inside = item[key][:, : filled[0], : filled[1], : filled[2]]
        assert inside[-1:].min() > 0
        assert item[key].sum() == inside.sum()


def test_voxels_that_make_no_larger_one_are_left_out() -> None:
    item = RandScaledBoxd(spacing=2, multiple=1)(pair((5, 4, 7)))
    assert item["image"].shape == (2, 2, 2, 3)
    assert item["fixed_label"].shape == (1, 2, 2, 3)


def test_pair_may_lack_labels() -> None:
    assert RandScaledBoxd(spacing=2)({"image": pair()["image"]}).keys() == {"image"}
