# SPDX-License-Identifier: Apache-2.0
"""An evaluator for several processes that share the pairs."""

from ignite.engine import Events
from monai.engines import SupervisedEvaluator


class SharedEvaluator(SupervisedEvaluator):
    """MONAI's evaluator for processes that may have no pairs: their handlers still take part where all gather."""

    def run(self, global_epoch: int = 1) -> None:
        """Evaluate; without any pairs, only fire the events before and after the iterations."""
        if self.state.epoch_length:
            super().run(global_epoch)
            return
        self.state.epoch = global_epoch
        for event in (Events.STARTED, Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
            self.fire_event(event)
