# SPDX-License-Identifier: Apache-2.0
"""Several processes do what one does: run by torchrun as a user types it, on the CPU."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.fixtures.bundle import SMALL

ROOT = Path(__file__).parents[2]
# Two processes add up in another order than one does. In bfloat16 that shows in the third digit.
FLOAT32 = {"bf16": False}
# Gradients are always clipped; averaged and last weights differ.
TRAINING = {"max_epochs": 5, "val_interval": 2, "clip_norm": 0.05, "ema_decay": 0.5}

# A handler by which one of the processes dies, without a word, in the middle of a training.
DYING = """
import os, signal
from ignite.engine import Events

class Dying:
    def attach(self, engine):
        if os.environ["RANK"] == "1":
            engine.add_event_handler(Events.EPOCH_STARTED(once=4), lambda: os.kill(os.getpid(), signal.SIGKILL))
"""
DYING_OVERLAY = """
+train#handlers:
  - _target_: dying.Dying
"""


def torchrun(
    count: int, run_id: str, configs: list[str | Path], path: Path | None = None, **options: object
) -> subprocess.CompletedProcess:
    """What `torchrun -m monai.bundle run ...` does with so many processes; a hang is a failure."""
    files = str([str(config) if isinstance(config, Path) else f"configs/{config}.json" for config in configs])
    settings = {"device": "cpu", **SMALL, **FLOAT32, **options}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nnodes=1"]
    bundle = ["-m", "monai.bundle", "run", run_id, "--config_file", files, *words]
    line = [*launcher, f"--nproc_per_node={count}", *bundle]
    # As in a job of SLURM, which has one task for torchrun.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "1", "SLURM_LOCALID": "0"}
    environment["PYTHONPATH"] = str(path or "")
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def bars(stderr: str, description: str) -> int:
    """How many progress bars: each is shown once before anything is done, and as often as it takes afterwards."""
    return len(re.findall(rf"{description}: [^\r\n]*\[00:00<\?", stderr))


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


def assert_same_table(found: Path, expected: Path) -> None:
    """The same rows in the same order; threads and batches add up in another order, clocks are left out."""
    assert len(rows(found)) == len(rows(expected)) > 0
    for row, wanted in zip(rows(found), rows(expected), strict=True):
        assert row.keys() == wanted.keys()
        for name, value in wanted.items():
            try:
                assert float(row[name] or "nan") == pytest.approx(float(value or "nan"), abs=1e-4, nan_ok=True), name
            except ValueError:
                assert row[name] == value


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Root of the summed squares, but for biases before a normalization: they change nothing, and are rounding."""
    names = [name for name in second if not name.endswith("conv.bias")]
    return torch.cat([(first[name] - second[name]).flatten() for name in names]).norm().item()


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def given(dataset: Path, random_weights: Path) -> dict[str, object]:
    """Five steps on two pairs each."""
    return {"dataset_dir": dataset, "weights": random_weights, "pairs_per_epoch": 2, **TRAINING}


@pytest.fixture(scope="module")
def alone(run_bundle: Callable, given: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left by one process on batches of two pairs."""
    folder = tmp_path_factory.mktemp("alone")
    run_bundle("train", output_dir=folder, batch_size=2, **given, **FLOAT32)
    return folder


@pytest.fixture(scope="module")
def killed(given: dict, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """The same by two processes on a pair each, the second of which dies when it begins the fourth step."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "dying.py").write_text(DYING)
    (folder / "dying.yaml").write_text(DYING_OVERLAY)
    configs = ["train", "multi_gpu_train", folder / "dying.yaml"]
    return folder / "out", torchrun(2, "training", configs, path=folder, output_dir=folder / "out", **given)


@pytest.mark.slow
def test_killed_process_ends_the_run_which_can_be_resumed(
    killed: tuple[Path, subprocess.CompletedProcess], alone: Path, given: dict, random_weights: Path
) -> None:
    out, done = killed
    assert done.returncode != 0
    assert "SIGKILL" in done.stderr
    assert bars(done.stderr, "Loading dataset") == 2  # training and validation scans
    assert len(list(out.glob("events.out.tfevents.*"))) == 2  # of the trainer and the evaluator
    # The other process may have been writing down the third epoch.
    assert torch.load(out / "last.pt", weights_only=True)["epoch"] in (2, 3)

    resumed = torchrun(2, "training", ["train", "multi_gpu_train"], output_dir=out, resume=True, **given)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("resumed from") == 1
    assert bars(resumed.stderr, "training") == 1

    names = [sorted(path.name for path in folder.iterdir() if "tfevents" not in path.name) for folder in (out, alone)]
    assert names[0] == names[1]
    # Losses, validation's metrics, weights and their average.
    assert [row["epoch"] for row in rows(out / "history.csv")] == ["1", "2", "3", "4", "5"]
    assert_same_table(out / "history.csv", alone / "history.csv")
    first, second = (torch.load(folder / "last.pt", weights_only=True) for folder in (alone, out))
    start = torch.load(random_weights, weights_only=True)
    for part in ("network", "average"):
        # Adam's steps are as long for small gradients, of which rounding is a part.
        assert distance(first[part], second[part]) < 0.01 * distance(first[part], start)
    assert distance(first["network"], first["average"]) > 0.02 * distance(first["network"], start)
    assert torch.equal(first["random_state"]["torch"], second["random_state"]["torch"])


# --- evaluation -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_three_processes_evaluate_two_pairs_as_one_does(
    run_bundle: Callable, dataset: Path, random_weights: Path, tmp_path: Path
) -> None:
    given = {"dataset_dir": dataset, "weights": random_weights}
    run_bundle("train", "evaluate", output_dir=tmp_path / "alone", **given, **FLOAT32)
    configs = ["train", "evaluate", "multi_gpu_evaluate"]
    done = torchrun(3, "evaluating", configs, output_dir=tmp_path / "together", **given)
    assert done.returncode == 0, done.stderr
    files = ["dice_per_label.csv", "dice_per_label.json", "metrics.csv", "metrics.json"]
    assert sorted(path.name for path in (tmp_path / "together").iterdir()) == files
    for name in ("metrics.csv", "dice_per_label.csv"):
        assert_same_table(tmp_path / "together" / name, tmp_path / "alone" / name)
    assert done.stdout.count("2 pairs, mean") == 1
    assert bars(done.stderr, "evaluating") == 1


# --- inference ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_register_each_pair_once(
    run_bundle: Callable, refused: Callable, small_dataset: Path, random_weights: Path, tmp_path: Path
) -> None:
    images = sorted((small_dataset / "imagesTr").iterdir())
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(images[0].read_bytes()[:3000])
    pairs = [(images[0], images[1]), (images[2], images[1]), (images[3], images[1]), (bad, images[1])]
    table = tmp_path / "pairs.csv"
    table.write_text("fixed,moving\n" + "\n".join(f"{fixed},{moving}" for fixed, moving in pairs))
    given = {"pairs": table, "weights": random_weights, "init": "none"}
    last_line = "1 of 4 pairs could not be registered; they are listed above"
    with refused(last_line):
        run_bundle("inference", output_dir=tmp_path / "alone", **given, **FLOAT32)
    options = {"output_dir": tmp_path / "together", "network_size": [1, 1, 1], **given}
    done = torchrun(2, "inference", ["inference", "multi_gpu_inference"], **options)
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [f"error: {last_line}"]
    assert done.stderr.count(f"{bad}: the file is damaged or cut short") == 1
    for fixed, moving in pairs[:3]:
        name = "_".join(path.name.removesuffix(".nii.gz") for path in (fixed, moving))
        assert done.stdout.count(f"{name}: ") == 1

    files = [
        sorted(path.relative_to(tmp_path / run) for path in (tmp_path / run).rglob("*"))
        for run in ("together", "alone")
    ]
    assert files[0] == files[1]
    assert_same_table(tmp_path / "together" / "summary.csv", tmp_path / "alone" / "summary.csv")
    images_found = [path for path in files[0] if path.name.endswith(".nii.gz")]
    assert len(images_found) == 3 * 4
    for path in images_found:
        found, wanted = (np.asarray(nib.load(tmp_path / run / path).dataobj) for run in ("together", "alone"))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2 if path.name == "moved.nii.gz" else 1e-3)
    settings = [
        json.loads((tmp_path / run / files[0][0] / "metrics.json").read_text())["settings"]
        for run in ("together", "alone")
    ]
    assert settings[0] == settings[1], "one process would do all pairs again"
