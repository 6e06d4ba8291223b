# SPDX-License-Identifier: Apache-2.0
"""The table of all registrations in a folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from scripts.io import print_summary, read_json, write_table
from scripts.registration.fingerprint import settings_digests
from scripts.registration.pair import Failure
from scripts.runtime import gathered, rank


class RegistrationTable:
    """Write `summary.csv` and `summary.json` of all registrations in a folder, from this run and earlier ones.

    Each pair has a row with the metrics of its `metrics.json` and the seconds of its registration. Pairs that this run
    could not register have none, though there may be earlier results of them, nor have those of other settings or of
    another version of the bundle. Nothing is written for a single pair, whose results are in `output_dir` itself.

    Args:
        output_dir: folder with one folder for each pair.
        settings: settings of this run, as `measure` gets them.
    """

    def __init__(self, output_dir: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.output_dir = Path(output_dir)
        self.digests = settings_digests(settings)
        self.failed: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        engine.add_event_handler(Events.COMPLETED, self)

    def _note(self, engine: Engine) -> None:
        if isinstance(engine.state.output, Failure):
            self.failed.append(engine.state.output.name)

    def __call__(self, engine: Engine | None = None) -> None:
        """Write the table when all processes have finished their pairs."""
        failed = set(gathered(self.failed))
        if rank() > 0:
            return
        results = {file.parent.name: read_json(file) for file in sorted(self.output_dir.glob("*/metrics.json"))}
        same = {name: metrics for name, metrics in results.items() if self._is_of_this_kind(metrics)}
        if len(same) < len(results):
            others = len(results) - len(same)
            print(f"{self.output_dir}: {others} pairs of other settings or another version are not in the table")
        rows = [_row(name, metrics) for name, metrics in same.items() if name not in failed]
        if rows:
            write_table(rows, self.output_dir / "summary")
            print_summary(rows, self.output_dir / "summary.csv")

    def _is_of_this_kind(self, metrics: Mapping[str, Any]) -> bool:
        return self.digests.items() <= metrics.get("fingerprint", {}).items()


def _row(name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {key: value for key, value in metrics.items() if isinstance(value, float)}
    return {"pair": name, **numbers, "seconds": sum(part["seconds"] for part in metrics["timings"].values())}
