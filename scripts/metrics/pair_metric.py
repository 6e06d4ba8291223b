# SPDX-License-Identifier: Apache-2.0
"""Functions of one pair as ignite metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.data import decollate_batch
from monai.utils import convert_to_tensor
from torch import Tensor

from scripts.runtime import gathered


class PairMetric(Metric):
    """Mean over all pairs of a function of one pair, for MONAI's evaluators.

    A pair's value is the mean of what the function returns (a scalar, or one value per label or landmark) without NaN.
    A pair without one of the inputs, such as landmarks, has the value NaN. The mean over the pairs is without NaN, too.
    Attached under a name, the mean is in `engine.state.metrics[name]`. The values, `(pairs,)` float32 in the order of
    the data, are in `engine.state.metric_details[name]`, which `monai.handlers.MetricsSaver` writes.

    Not a `monai.handlers.IgniteMetricHandler`: it takes exactly two inputs, and TRE needs three.

    In a config:

        {"_target_": "scripts.metrics.PairMetric",
         "function": {"_target_": "scripts.metrics.dice_per_label", "_mode_": "callable", "labels": "@labels"},
         "inputs": {"fixed_label": "fixed_label", "warped_label": "warped_label"}}

    Args:
        function: function of one pair that takes `inputs` as keyword arguments.
        inputs: name of each argument of the function, and its key in the engine's output or else in its batch (MONAI's
            evaluators keep there what is no input of the network). Output and batch are lists of one dictionary per
            pair, or one dictionary of batches.
    """

    def __init__(self, function: Callable[..., Tensor], inputs: Mapping[str, str]) -> None:
        self.function = function
        self.inputs = dict(inputs)
        self.values: list[Tensor] = []
        super().__init__()

    def reset(self) -> None:
        """Remove all values."""
        self.values = []

    @torch.no_grad()
    def iteration_completed(self, engine: Engine) -> None:
        """Add the pairs of the engine's last iteration."""
        batch, output = _decollated(engine.state.batch), _decollated(engine.state.output)
        self.update([{**before, **after} for before, after in zip(batch, output, strict=True)])

    def update(self, output: list[dict[str, Any]]) -> None:
        """Add one value per pair."""
        for pair in output:
            self.values.append(self._value(pair))

    def compute(self) -> float:
        """Mean over the pairs of all processes.

        Raises:
            NotComputableError: if there is no pair yet.
        """
        # Not MONAI's Cumulative: with it, the others wait for ever for a process without any pair.
        values = gathered(self.values)
        if not values:
            raise NotComputableError("PairMetric has no pair yet")
        return torch.stack(values).nanmean().item()

    def completed(self, engine: Engine, name: str) -> None:
        """Put the mean and the values of the pairs into the engine's state."""
        super().completed(engine, name)
        vars(engine.state).setdefault("metric_details", {})[name] = torch.stack(gathered(self.values))

    def _value(self, pair: Mapping[str, Any]) -> Tensor:
        if any(pair.get(key) is None for key in self.inputs.values()):
            return torch.tensor(torch.nan)
        # Plain tensors: every operation on a MetaTensor copies its meta data.
        arguments = {name: convert_to_tensor(pair[key], track_meta=False) for name, key in self.inputs.items()}
        # float32, as MetricsSaver writes it with all digits; it writes float64 with four decimals.
        return self.function(**arguments).nanmean().to("cpu", torch.float32)


def _decollated(output: Any) -> list[dict[str, Any]]:
    return decollate_batch(output) if isinstance(output, dict) else output
