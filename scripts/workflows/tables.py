"""The tables that an evaluation leaves."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from scripts.metrics import dice_per_label, summarise, write_table
from scripts.processes import gathered, rank, wait_for_others


class MetricTable:
    """Write `metrics.csv` and `metrics.json`, a row per pair with mean and standard deviation, and print the summary.

    Args:
        output_dir: where the files go.
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
        _print_summary(rows, self.output_dir / "metrics.csv")


class RegistrationTable:
    """Write `summary.csv` and `summary.json` of all registrations in a folder, finished now or before.

    A row per pair with the figures of its `metrics.json` and the seconds that it took. Nothing is written for a single
    pair, whose results lie in the folder itself.

    Args:
        output_dir: holds a folder for each pair.
    """

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = Path(output_dir)

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine | None = None) -> None:
        """Write the table, when all processes are done."""
        wait_for_others()
        if rank() > 0:
            return
        rows = [_figures(file) for file in sorted(self.output_dir.glob("*/metrics.json"))]
        if rows:
            write_table(rows, self.output_dir / "summary")
            _print_summary(rows, self.output_dir / "summary.csv")


def _figures(file: Path) -> dict[str, Any]:
    metrics = json.loads(file.read_text(encoding="utf-8"))
    figures = {name: value for name, value in metrics.items() if isinstance(value, float)}
    return {"pair": file.parent.name, **figures, "seconds": sum(s["seconds"] for s in metrics["stages"].values())}


def _print_summary(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    print(f"{len(rows)} pairs, mean ± standard deviation\n{'':<30}{'before':<20}after")
    summary = summarise(rows)
    for metric, after in summary.items():
        if not metric.endswith("_before") and not math.isnan(after["mean"]):
            print(f"  {metric:<28}{_shown(summary.get(f'{metric}_before')):<20}{_shown(after)}")
    print(f"table: {file}")


class LabelTable:
    """Write `dice_per_label.csv` and `.json`: the Dice of every label, a row per pair.

    Nothing is written where no pair has labels.

    Args:
        output_dir: where the files go.
        labels: names by value.
    """

    def __init__(self, output_dir: str | os.PathLike[str], labels: Mapping[int, str]) -> None:
        self.output_dir = Path(output_dir)
        self.labels = labels

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
                dice = dice_per_label(
                    pair["fixed_label"], pair["warped_label"], list(self.labels), pair["moving_label"]
                )
                names = (f"{value} {name}" for value, name in self.labels.items())
                self.rows.append({"pair": _name(pair), **dict(zip(names, dice.tolist(), strict=True))})

    def _write(self, engine: Engine) -> None:
        rows = gathered(self.rows)
        if rows and rank() == 0:
            write_table(rows, self.output_dir / "dice_per_label")


def _name(pair: Mapping[str, Any]) -> str:
    return f"{pair['fixed_name']}_{pair['moving_name']}"


def _shown(summary: Mapping[str, float] | None) -> str:
    return "" if summary is None else f"{summary['mean']:.4g} ± {summary['std']:.2g}"
