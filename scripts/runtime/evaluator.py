"""An evaluator for processes that share the pairs."""

from ignite.engine import Events
from monai.engines import SupervisedEvaluator


class SharedEvaluator(SupervisedEvaluator):
    """MONAI's evaluator for a process whose share of the pairs may be empty: it meets the others where they gather."""

    def run(self, global_epoch: int = 1) -> None:
        """Evaluate, or with nothing to evaluate only go through what comes before and after."""
        if self.state.epoch_length:
            super().run(global_epoch)
            return
        self.state.epoch = global_epoch
        for event in (Events.STARTED, Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
            self.fire_event(event)
