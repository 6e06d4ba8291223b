# SPDX-License-Identifier: Apache-2.0
"""The page that lists all scans of a derivatives dataset."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from scripts.bids.dataset import PREPROC, write_description
from scripts.bids.selection import Selection
from scripts.io import read_json
from scripts.registration import Failure
from scripts.report import Listed, overview


class DatasetPage:
    """Describe the derivatives dataset, and write its `index.html`.

    The page lists all scans in the folder, from this run and earlier ones; of those that this run could not register
    the error, and what was skipped.

    Args:
        output_dir: root of the derivatives.
        bids_dir: root of the dataset that they come from.
        selection: of `select_scans`.
    """

    def __init__(
        self, output_dir: str | os.PathLike[str], bids_dir: str | os.PathLike[str], selection: Selection
    ) -> None:
        self.output_dir = Path(output_dir)
        self.bids_dir = Path(bids_dir)
        self.selection = selection
        self.errors: dict[str, str] = {}

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator, to note what could not be registered."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)

    def _note(self, engine: Engine) -> None:
        if isinstance(engine.state.output, Failure):
            self.errors[engine.state.output.name] = str(engine.state.output.error)

    def describe(self) -> None:
        """Write what describes the dataset, see `write_description`."""
        write_description(self.output_dir, self.bids_dir)

    def write(self) -> None:
        """Write the page, when all registrations are done."""
        failed = {job.sidecar: job for job in self.selection.jobs if job.name in self.errors}
        sidecars = sorted(set(self.output_dir.glob(f"sub-*/**/*_desc-{PREPROC}_*.json")) - failed.keys())
        listed = [_listed(file, read_json(file), self.output_dir) for file in sidecars]
        listed += [Listed(job.name, job.space, "error", [self.errors[job.name]]) for job in failed.values()]
        listed += [Listed(name, "", "skipped", [reason]) for name, reason in self.selection.skipped.items()]
        overview(self.output_dir / "index.html", f"Scans of {self.bids_dir.resolve().name}", listed)


def _listed(sidecar: Path, content: Mapping[str, Any], root: Path) -> Listed:
    name, _, rest = sidecar.stem.partition("_space-")
    space, _, suffix = rest.partition(f"_desc-{PREPROC}_")
    (report,) = (file for file in content["files"] if file.endswith(".html"))
    link = Path(os.path.normpath(sidecar.parent / report)).relative_to(os.path.normpath(root))
    return Listed(f"{name}_{suffix}", space, content["verdict"], content["reasons"], link.as_posix(), content)
