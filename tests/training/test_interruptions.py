# SPDX-License-Identifier: Apache-2.0
"""Trainings in stages that are interrupted at any step and resumed equal, bit by bit, those that are not."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scripts.datasets.pairs import PairDataset
from scripts.synthesis.label_maps import LabelMapPairs

ROOT = Path(__file__).parents[2]
# Three epochs of five steps; the stage changes after 3 and 7 steps, inside an epoch.
STAGES = [
    {"steps": 3, "spacing": 2, "size": None},
    {"steps": 4, "spacing": 1, "size": [16, 32, 16]},
    {"steps": 8, "spacing": 1, "size": None},
]
SIZES = {"pairs_per_epoch": 5, "val_interval": 3, "stages": STAGES}
SHAPES = [(16, 16, 16)] * 3 + [(16, 32, 16)] * 4 + [(32, 32, 32)] * 8
OVERLAYS = {
    "real": ["training/curriculum.yaml"],
    "virtual": ["training/synthetic.yaml", "training/curriculum.yaml"],
    "real with labels": ["training/curriculum.yaml", "training/labels.yaml"],
}

# The shipped kind of network with few channels, in this process and in another one.
NETWORK = {"network_def#channels": [8, 8, 8], "network_def#symmetric": True, "bf16": False}

# Trains with the options of the first argument, and kills itself instead of making one more pair than the second says.
KILLED = """
import json, os, signal, sys
from monai.bundle import ConfigWorkflow
from scripts.datasets import PairDataset

options, pairs = json.loads(sys.argv[1]), int(sys.argv[2])
made, pair = [], PairDataset.__getitem__

def pair_or_kill(self, index):
    if "fixed" not in self.data[0]:
        made.append(index)
        if len(made) > pairs:
            os.kill(os.getpid(), signal.SIGKILL)
    return pair(self, index)

PairDataset.__getitem__ = pair_or_kill
configs = ["configs/train.json", "configs/training/curriculum.yaml"]
workflow = ConfigWorkflow(configs, logging_file=False, device="$torch.device('cpu')", **options)
workflow.initialize()
workflow.run()
"""


@pytest.fixture
def train(
    run_bundle: Callable, dataset: Path, label_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[tuple[int, ...]]]:
    """`train(output_dir, *overlays, stop=7)`: train until the eighth pair would be made; the shapes of the pairs."""

    def run(
        output_dir: Path, *overlays: str, stop: int | None = None, overrides: Any = None, **options: Any
    ) -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []

        def noted(kind: type) -> Callable:
            make = kind.__getitem__

            def item(self: Any, index: int) -> dict:
                validating = isinstance(self.data[0], dict) and "fixed" in self.data[0]
                if not validating and len(shapes) == stop:
                    raise RuntimeError("stopped")
                result = make(self, index)
                if not validating:
                    shapes.append(tuple(result["image"].shape[1:]))
                return result

            return item

        given = {"dataset_dir": dataset, "output_dir": output_dir, **SIZES, **options}
        if "training/synthetic.yaml" in overlays:
            given["label_dir"] = label_dir
        with monkeypatch.context() as patch:
            for kind in (PairDataset, LabelMapPairs):
                patch.setattr(kind, "__getitem__", noted(kind))
            with pytest.raises(RuntimeError) if stop is not None else nullcontext():
                run_bundle("train", *overlays, overrides={**NETWORK, **(overrides or {})}, **given)
        return shapes

    return run


@pytest.fixture(scope="module")
def finished() -> dict[str, tuple[Any, list[dict[str, str]]]]:
    """Checkpoint and history of uninterrupted trainings by name of their overlays; each training runs once."""
    return {}


@pytest.fixture
def whole(train: Callable, finished: dict, tmp_path: Path) -> Callable[[str], Any]:
    """`whole("real")`: checkpoint and history of the uninterrupted training with these overlays."""

    def get(name: str) -> Any:
        if name not in finished:
            assert train(tmp_path / "uninterrupted", *OVERLAYS[name]) == SHAPES
            finished[name] = checkpoint(tmp_path / "uninterrupted"), history(tmp_path / "uninterrupted")
        return finished[name]

    return get


def checkpoint(folder: Path) -> Any:
    return torch.load(folder / "last.pt", weights_only=True)


def history(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def differences(first: Any, second: Any, where: str = "") -> list[str]:
    """Places where two nested states differ by as much as a bit."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [where]
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [found for key in first for found in differences(first[key], second[key], f"{where}/{key}")]
    if isinstance(first, list | tuple):
        pairs = enumerate(zip(first, second, strict=True))
        return [found for i, pair in pairs for found in differences(*pair, f"{where}/{i}")]
    return [] if first == second else [where]


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stop"),
    [("real", 6), ("real", 9), ("real", 10), ("virtual", 7), ("real with labels", 13)],
)
def test_killed_training_is_resumed(train: Callable, whole: Callable, tmp_path: Path, name: str, stop: int) -> None:
    wanted, rows = whole(name)
    assert train(tmp_path / "out", *OVERLAYS[name], stop=stop) == SHAPES[:stop]
    assert train(tmp_path / "out", *OVERLAYS[name], resume=True) == SHAPES[stop // 5 * 5 :]
    assert differences(wanted, checkpoint(tmp_path / "out")) == []
    assert history(tmp_path / "out") == rows


@pytest.mark.slow
def test_killed_process_is_resumed(train: Callable, whole: Callable, dataset: Path, tmp_path: Path) -> None:
    options = {"dataset_dir": str(dataset), "output_dir": str(tmp_path / "out"), **SIZES, **NETWORK}
    line = [sys.executable, "-c", KILLED, json.dumps(options), "8"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint(tmp_path / "out")["epoch"] == 1
    assert train(tmp_path / "out", *OVERLAYS["real"], resume=True) == SHAPES[5:]
    assert differences(whole("real")[0], checkpoint(tmp_path / "out")) == []


# --- out of time ------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by a minute at each reading; the time limit reads it at the start and before each step."""
    ticks = iter(range(0, 60000, 60))
    monkeypatch.setattr("scripts.training.schedule.time", SimpleNamespace(monotonic=lambda: next(ticks)))


@pytest.mark.slow
@pytest.mark.usefixtures("slow_clock")
@pytest.mark.parametrize(
    ("name", "steps"), [("real", 1), ("real", 8), ("real", 10), ("virtual", 4), ("real with labels", 12)]
)
def test_expired_training_is_resumed(train: Callable, whole: Callable, tmp_path: Path, name: str, steps: int) -> None:
    wanted, rows = whole(name)
    out = tmp_path / "out"
    assert train(out, *OVERLAYS[name], overrides={"minutes": steps + 1}) == SHAPES[:steps]
    stopped = checkpoint(out)
    assert (stopped["epoch"], stopped["iteration"], len(stopped["sampler"]["left"])) == (steps // 5, steps, -steps % 5)
    assert not (out / "model.pt").exists()  # no epoch was validated
    assert train(out, *OVERLAYS[name], resume=True) == SHAPES[steps:]
    assert differences(wanted, checkpoint(out)) == []
    # The row of the interrupted epoch is about the steps after the interruption.
    found = history(out)
    assert [row["epoch"] for row in found] == ["1", "2", "3"]
    assert [a == b for a, b in zip(found, rows, strict=True)] == [steps % 5 == 0 or n != steps // 5 for n in range(3)]


@pytest.mark.slow
@pytest.mark.usefixtures("slow_clock")
def test_many_short_runs_equal_one_long_run(train: Callable, whole: Callable, tmp_path: Path) -> None:
    shapes = train(tmp_path / "out", *OVERLAYS["real"], overrides={"minutes": 5})
    while len(shapes) < 15:
        shapes += train(tmp_path / "out", *OVERLAYS["real"], resume=True, overrides={"minutes": 5})
    assert shapes == SHAPES
    assert differences(whole("real")[0], checkpoint(tmp_path / "out")) == []
