# SPDX-License-Identifier: Apache-2.0
"""The tables of an evaluation."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from scripts.io import print_summary, write_table
from scripts.metrics import dice_per_label
from scripts.runtime import gathered, rank


class MetricTable:
    """Write `metrics.csv` and `metrics.json`, a row per pair, mean and standard deviation, and print the summary.

    Args:
        output_dir: folder for the files.
    """

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = Path(output_dir)

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose metrics are `PairMetric`s."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_names)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _begin(self, engine: Engine) -> None:
        self.names: list[str] = []

    def _add_names(self, engine: Engine) -> None:
        self.names += [_name(pair) for pair in engine.state.output]

    def _write(self, engine: Engine) -> None:
        names = gathered(self.names)
        if rank() > 0:
            return
        details = {name: values.tolist() for name, values in engine.state.metric_details.items()}
        rows = [
            {"pair": name, **{metric: values[i] for metric, values in details.items()}} for i, name in enumerate(names)
        ]
        write_table(rows, self.output_dir / "metrics")
        print_summary(rows, self.output_dir / "metrics.csv")


class LabelTable:
    """Write `dice_per_label.csv` and `.json`: the Dice of every label, a row per pair.

    Nothing is written if no pair has labels.

    Args:
        output_dir: folder for the files.
        labels: value and name of each label, or the values alone.
    """

    def __init__(self, output_dir: str | os.PathLike[str], labels: Mapping[int, str] | Sequence[int]) -> None:
        self.output_dir = Path(output_dir)
        self.names = labels if isinstance(labels, Mapping) else dict.fromkeys(labels, "")

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_pairs)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _begin(self, engine: Engine) -> None:
        self.rows: list[dict[str, Any]] = []

    def _add_pairs(self, engine: Engine) -> None:
        for pair in engine.state.output:
            if "warped_label" in pair and "fixed_label" in pair:
                dice = dice_per_label(pair["fixed_label"], pair["warped_label"], list(self.names), pair["moving_label"])
                names = (f"{value} {name}".strip() for value, name in self.names.items())
                self.rows.append({"pair": _name(pair), **dict(zip(names, dice.tolist(), strict=True))})

    def _write(self, engine: Engine) -> None:
        rows = gathered(self.rows)
        if rows and rank() == 0:
            write_table(rows, self.output_dir / "dice_per_label")


def _name(pair: Mapping[str, Any]) -> str:
    return f"{pair['fixed_name']}_{pair['moving_name']}"
