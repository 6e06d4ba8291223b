# SPDX-License-Identifier: Apache-2.0
"""The loss with label maps: soft Dice of boxes of known overlap."""

import pytest
import torch
from torch import Tensor

from scripts.losses import LabeledLoss, RegistrationLoss
from scripts.spatial import resize_field

SIZE = (16, 16, 24)
NO_IMAGES = RegistrationLoss(similarity_weight=0, smoothness_weight=0, folding_weight=0)
IMAGE = torch.zeros(1, 2, *SIZE)


def labels(*values: int) -> Tensor:
    return torch.tensor(values)


def box(value: int, start: int) -> Tensor:
    """A label four voxels long, from `start` along the last axis."""
    label_map = torch.zeros(1, 1, *SIZE, dtype=torch.int32)
    label_map[..., 4:12, 4:12, start : start + 4] = value
    return label_map


def along_last(voxels: float, scale: int = 1) -> Tensor:
    field = torch.zeros(1, 3, *SIZE)
    field[:, 2] = voxels
    return resize_field(field, [n // scale for n in SIZE])


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(
    ("start", "voxels", "expected"),
    [
        (8, 0, 0),  # the same 4 voxels
        (10, 0, 0.5),  # 1 - 2 * 2 / (4 + 4)
        (10, 2, 0),  # warped to the same 4 voxels
        (10, 1, 0.25),  # 1 - 2 * 3 / (4 + 4)
        (14, 0, 1),  # no overlap
    ],
)
def test_loss_is_one_minus_the_dice_of_shifted_boxes(scale: int, start: int, voxels: float, expected: float) -> None:
    label_maps = torch.cat([box(7, 8), box(7, start)], dim=1)
    loss = LabeledLoss(NO_IMAGES)([along_last(voxels, scale)], (IMAGE, label_maps, labels(7)))
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_given_labels_have_equal_weights() -> None:
    fixed, moving = box(7, 8), box(7, 10)
    fixed[..., 0, 0, :2], moving[..., 0, 0, 1:3] = 3, 3  # two voxels, one in common
    fixed[..., 15, 15, :], moving[..., 14, 14, :] = 9, 9  # nothing in common
    loss = LabeledLoss(NO_IMAGES, dice_weight=4)
    halves = loss([along_last(0)], (IMAGE, torch.cat([fixed, moving], dim=1), labels(3, 7)))
    assert halves.item() == pytest.approx(4 * (0.5 + 0.5) / 2, abs=1e-4)
    fixed[..., 0, 0, :2] = 4  # another label in its place is not the same
    other = loss([along_last(0)], (IMAGE, torch.cat([fixed, moving], dim=1), labels(3, 7)))
    assert other.item() == pytest.approx(4 * (1 + 0.5) / 2, abs=1e-4)


def test_labels_that_a_pair_lacks_are_left_out() -> None:
    label_maps = torch.cat([box(7, 8), box(7, 10)], dim=1)
    loss = LabeledLoss(NO_IMAGES)
    assert loss([along_last(0)], (IMAGE, label_maps, labels(3, 7, 9))).item() == pytest.approx(0.5, abs=1e-5)
    assert loss([along_last(0)], (IMAGE, label_maps, labels(3, 9))).item() == 0
    # Each pair of the batch lacks another label.
    batch = torch.cat([label_maps, torch.cat([box(9, 8), box(9, 8)], dim=1)])
    fields = [along_last(0).expand(2, -1, -1, -1, -1)]
    assert loss(fields, (IMAGE.expand(2, -1, -1, -1, -1), batch, labels(7, 9))).item() == pytest.approx(0.25, abs=1e-5)


def test_label_that_one_map_lacks_has_dice_0() -> None:
    for pair in ([box(7, 8), box(3, 8)], [box(3, 8), box(7, 8)]):
        loss = LabeledLoss(NO_IMAGES)([along_last(0)], (IMAGE, torch.cat(pair, dim=1), labels(7)))
        assert loss.item() == 1


def test_label_that_the_field_moves_out_of_the_image_has_dice_0() -> None:
    field = along_last(-30).requires_grad_()
    loss = LabeledLoss(NO_IMAGES)(
        [field], (IMAGE, torch.cat([torch.zeros_like(box(7, 8)), box(7, 8)], dim=1), labels(7))
    )
    loss.backward()
    assert loss.item() == 1
    assert field.grad.isfinite().all()


def test_weighted_dice_is_added_to_the_loss_of_the_images() -> None:
    image = torch.rand(1, 2, *SIZE, generator=torch.Generator().manual_seed(0))
    images, label_maps = RegistrationLoss(folding_weight=1), torch.cat([box(7, 8), box(7, 10)], dim=1)
    fields = [along_last(1, 4), along_last(1, 2)]
    expected = images(fields, image) + 2 * 0.25
    loss = LabeledLoss(images, dice_weight=2)(fields, (image, label_maps, labels(7)))
    torch.testing.assert_close(loss, expected)
    assert NO_IMAGES(fields, image) == 0


def test_gradient_moves_labels_together() -> None:
    field = along_last(0).requires_grad_()
    label_maps = torch.cat([box(7, 8), box(7, 10)], dim=1)
    LabeledLoss(NO_IMAGES)([field], (IMAGE, label_maps, labels(7))).backward()
    at_ends = field.grad[0, 2, 6, 6]
    assert at_ends[8:10].max() <= 0 and at_ends.min() < 0  # a larger displacement to the moving box lowers the loss
    assert field.grad[:, :2, 6, 6, 10].abs().max() == 0
