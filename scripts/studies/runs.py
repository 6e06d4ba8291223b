# SPDX-License-Identifier: Apache-2.0
"""A training and its evaluation in a process of their own, which go on where they were stopped."""

import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from scripts.bundle_run import run_bundle
from scripts.datasets import label_names, training_scans, validation_pairs
from scripts.environment import short_waiting
from scripts.io import image_files, outline_sha256, read_configs, read_json, write_json
from scripts.registration import json_sha256
from scripts.runtime import InputError, bundle_version
from scripts.signals import end_on_signals, run_child

EVALUATE = "configs/evaluate.json"


class Run(NamedTuple):
    """A training with one seed, and the evaluation of its last weights.

    Attributes:
        configs: paths of the configs of the training, in the order in which they are merged.
        options: values of items of the config; `max_epochs` is among them.
        folder: folder of the checkpoints, the tables and the log.
    """

    configs: tuple[str, ...]
    options: Mapping[str, Any]
    folder: Path

    @property
    def epochs(self) -> int:
        """Number of epochs of the training."""
        return int(self.options["max_epochs"])


def data_digest(dataset_dir: str) -> str:
    """SHA-256 of what a training and its evaluation read: scans and labels in outline, names of the labels.

    Raises:
        InputError: if there is no such dataset, or its training scans have no labels.
    """
    scans = [training_scans(dataset_dir, labels=True), validation_pairs(dataset_dir)]
    files = outline_sha256(file for path in _paths(scans) for file in image_files(path))
    return json_sha256([files, {str(value): name for value, name in label_names(dataset_dir).items()}])


def begin(run: Run, data: str) -> None:
    """Note the settings of a run in its folder, or compare them with those that are noted there.

    Args:
        run: the run.
        data: result of `data_digest`.

    Raises:
        InputError: if the folder holds a run with other settings or other data.
    """
    # Not the whole config: a new version that words it otherwise would disown every run.
    network = read_configs(",".join(run.configs))["network_def"]
    fingerprint = json_sha256([list(run.configs), dict(run.options), network, data])
    noted = read_json(run.folder / "run.json") if (run.folder / "run.json").exists() else {}
    if noted.get("fingerprint", fingerprint) != fingerprint:
        raise InputError(
            f"{run.folder}: a run with other settings or data; move it away or choose another --output_dir"
        )
    if not is_finished(run):
        versions = [*noted.get("versions", ()), bundle_version()]
        run.folder.mkdir(parents=True, exist_ok=True)
        write_json(run.folder / "run.json", {"fingerprint": fingerprint, "versions": sorted(set(versions))})


def versions_of(run: Run) -> list[str]:
    """The versions of the bundle that a run was made by."""
    return list(read_json(run.folder / "run.json")["versions"])


def is_finished(run: Run) -> bool:
    """Whether a run is trained and evaluated."""
    return (run.folder / "metrics.json").exists()


def epochs_done(run: Run) -> int:
    """Number of epochs that a run has trained."""
    try:
        with (run.folder / "history.csv").open(newline="", encoding="utf-8") as file:
            return len(list(csv.DictReader(file)))
    except FileNotFoundError:
        return 0


def scores(run: Run) -> dict[str, dict[str, float]]:
    """The metrics of each pair of a finished run, by name of the pair and of the metric."""
    rows = read_json(run.folder / "metrics.json")["pairs"]
    return {
        row["pair"]: {name: float("nan") if value is None else value for name, value in row.items() if name != "pair"}
        for row in rows
    }


def carry_out(run: Run, dataset_dir: str, stop: Event) -> None:
    """Do what is missing of a run, by one thread of another process.

    Args:
        run: the run, begun.
        dataset_dir: folder of the dataset.
        stop: event that ends the process; the run goes on after the last full epoch then.

    Raises:
        InputError: if it failed, with its last error.
        InterruptedError: if it was stopped.
    """
    places = {"dataset_dir": str(Path(dataset_dir).absolute()), "output_dir": str(run.folder.absolute())}
    parts: list[tuple[str, list[str], dict[str, Any]]] = []
    if epochs_done(run) < run.epochs:
        resume = {"resume": True} if (run.folder / "last.pt").exists() else {}
        parts.append(("training", list(run.configs), {**places, **run.options, **resume}))
    parts.append(("evaluating", [*run.configs, EVALUATE], places))
    run_module(__name__, [json.dumps(parts)], run.folder / "log.txt", stop)


def run_module(module: str, words: Sequence[str], log: Path, stop: Event) -> str:
    """Run a module of this bundle by one thread of another process.

    Args:
        module: full name of the module.
        words: its arguments.
        log: file that what it prints to stderr is added to.
        stop: event that ends the process.

    Returns:
        What it has printed to stdout.

    Raises:
        InputError: if it failed, with its last error.
        InterruptedError: if it was stopped.
    """
    environment = {**os.environ, **short_waiting(), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        done = run_child([sys.executable, "-m", module, *words], Path.cwd(), environment, stop, file)
    if done.returncode:
        errors = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("error: ")]
        reason = errors[-1] if errors and done.returncode > 0 else f"error: it ended with {done.returncode}"
        raise InputError(f"{log.parent}: {reason.removeprefix('error: ')}; what it printed is in {log.name}")
    return done.stdout


def _paths(nested: Any) -> Iterator[str]:
    """All paths in nested lists and dictionaries, in their order."""
    if isinstance(nested, str):
        yield nested
    else:
        for item in nested.values() if isinstance(nested, Mapping) else nested:
            yield from _paths(item)


if __name__ == "__main__":
    end_on_signals()
    for run_id, config_files, given in json.loads(sys.argv[1]):
        run_bundle(run_id, config_files, **given)
