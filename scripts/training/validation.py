# SPDX-License-Identifier: Apache-2.0
"""Validation after the last epoch."""

from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator


class LastValidation:
    """Validate after the last epoch, also where the validation interval does not include it.

    Args:
        validator: evaluator; it does not run again if it has validated this epoch already.
    """

    def __init__(self, validator: SupervisedEvaluator) -> None:
        self.validator = validator

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after MONAI's `ValidationHandler`."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Validate if this is the last epoch."""
        epoch = engine.state.epoch
        if epoch == engine.state.max_epochs and self.validator.state.epoch != epoch:
            self.validator.run(epoch)
