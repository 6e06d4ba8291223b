# SPDX-License-Identifier: Apache-2.0
"""The table of all registrations in a folder."""

import json
import math
import os
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from scripts.io import print_summary, write_table
from scripts.runtime import rank, wait_for_others


class RegistrationTable:
    """Write `summary.csv` and `summary.json` of all registrations in a folder, from this run and earlier ones.

    Each pair has a row with the metrics of its `metrics.json` and the seconds of its registration. Nothing is written
    for a single pair, whose results are in `output_dir` itself.

    Args:
        output_dir: folder with one folder for each pair.
    """

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = Path(output_dir)

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine | None = None) -> None:
        """Write the table when all processes have finished their pairs."""
        wait_for_others()
        if rank() > 0:
            return
        rows = [_row(file) for file in sorted(self.output_dir.glob("*/metrics.json"))]
        if rows:
            write_table(rows, self.output_dir / "summary")
            print_summary(rows, self.output_dir / "summary.csv")


def _row(file: Path) -> dict[str, Any]:
    metrics = json.loads(file.read_text(encoding="utf-8"))
    numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
    timings = metrics.get("timings")  # results of versions before 0.8 have none
    seconds = sum(part["seconds"] for part in timings.values()) if timings else math.nan
    return {"pair": file.parent.name, **numbers, "seconds": seconds}
