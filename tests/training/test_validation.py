# SPDX-License-Identifier: Apache-2.0
"""Validation after the last epoch."""

import pytest
from ignite.engine import Engine, Events

from scripts.training.validation import LastValidation


class Validator(Engine):
    """An evaluator that notes its epochs; MONAI's evaluators take the epoch as the argument of `run`."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None)
        self.epochs: list[int] = []

    def run(self, epoch: int) -> None:
        self.epochs.append(epoch)
        self.state.epoch = epoch


@pytest.mark.parametrize(
    ("interval", "epochs"),
    [
        (2, [2, 4, 5]),  # and the last of 5 epochs
        (5, [5]),
        (1, [1, 2, 3, 4, 5]),
        (9, [5]),
    ],
)
def test_last_epoch_is_validated_once(interval: int, epochs: list[int]) -> None:
    validator, trainer = Validator(), Engine(lambda *_: None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=interval), lambda: validator.run(trainer.state.epoch))
    LastValidation(validator).attach(trainer)
    trainer.run([0], max_epochs=5)
    assert validator.epochs == epochs
