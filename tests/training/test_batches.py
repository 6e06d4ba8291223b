# SPDX-License-Identifier: Apache-2.0
"""Input of the network and target of the loss from a batch."""

from collections.abc import Callable

import torch

from scripts.training.batches import BatchWithLabels, prepare_training_batch


def test_target_is_the_image_unless_the_batch_has_one() -> None:
    image, target = torch.rand(1, 2, 4, 4, 4), torch.rand(1, 4, 4, 4, 4)
    for batch, expected in (({"image": image}, image), ({"image": image, "target": target}, target)):
        seen, compared = prepare_training_batch(batch, torch.device("cpu"))
        assert torch.equal(seen, image)
        assert torch.equal(compared, expected)


def drawn_labels(labels: list[int], count: int, batches: int = 1) -> list[list[int]]:
    maps = {key: torch.zeros(1, 1, 4, 4, 4, dtype=torch.int32) for key in ("fixed_label", "moving_label")}
    prepare = BatchWithLabels(labels, count)
    targets = [prepare({"image": torch.zeros(1, 2, 4, 4, 4), **maps}, torch.device("cpu"))[1] for _ in range(batches)]
    assert all(target[1].shape == (1, 2, 4, 4, 4) for target in targets)
    return [target[2].tolist() for target in targets]


def test_labels_of_a_step_are_different_and_follow_the_generator() -> None:
    torch.manual_seed(0)
    draws = drawn_labels(list(range(1, 135)), 24, batches=100)
    assert all(len(set(draw)) == 24 for draw in draws)
    assert set().union(*draws) == set(range(1, 135))
    torch.manual_seed(0)
    assert drawn_labels(list(range(1, 135)), 24, batches=100) == draws


def test_all_labels_are_drawn_if_there_are_fewer() -> None:
    assert sorted(drawn_labels([3, 17], 24)[0]) == [3, 17]


def test_batch_without_labels_to_draw_from_is_refused(refused: Callable) -> None:
    with refused("dataset JSON", "--dice_labels"):
        BatchWithLabels([], 24)
