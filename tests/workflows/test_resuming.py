# SPDX-License-Identifier: Apache-2.0
"""A seed determines every bit of a training; one that was killed goes on as if it never stopped."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fixtures.bundle import SMALL
from tests.fixtures.states import differences

ROOT = Path(__file__).parents[2]

# Runs the training, and dies without a chance to tidy up half-way through writing the last.pt of the third epoch.
DYING = """
import io, json, os, signal, sys
import torch
from monai.bundle import ConfigWorkflow

save, written = torch.save, []

def save_or_die(content, path):
    if "last.pt" in str(path):
        written.append(path)
        if len(written) == 3:
            buffer = io.BytesIO()
            save(content, buffer)
            with open(path, "wb") as file:
                file.write(buffer.getvalue()[: buffer.tell() // 2])
            os.kill(os.getpid(), signal.SIGKILL)
    save(content, path)

torch.save = save_or_die
workflow = ConfigWorkflow("configs/train.json", logging_file=False, **json.loads(sys.argv[1]))
workflow.initialize()
workflow.run()
"""


def read_history(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def read_checkpoint(path: Path) -> Any:
    return torch.load(path, weights_only=True)


# --- every bit --------------------------------------------------------------------------------------------------------


def test_same_seed_gives_the_same_bits(
    run_bundle: Callable, trained: Path, short_training: dict, dataset: Path, tmp_path: Path
) -> None:
    torch.manual_seed(torch.seed())  # what was there before must not matter
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, **short_training)
    for name in ("last.pt", "model.pt"):
        assert differences(read_checkpoint(trained / name), read_checkpoint(tmp_path / name)) == []


def test_other_seed_gives_other_weights(run_bundle: Callable, trained: Path, dataset: Path, tmp_path: Path) -> None:
    sizes = {"max_epochs": 1, "pairs_per_epoch": 2, "val_interval": 1}
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, seed=1, **sizes)
    first, second = (read_checkpoint(folder / "last.pt")["network"] for folder in (trained, tmp_path))
    assert differences(first, second)


@pytest.fixture(scope="module")
def killed(dataset: Path, short_training: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left where the short training was killed while it wrote the checkpoint of its third epoch."""
    folder = tmp_path_factory.mktemp("training") / "killed"
    places = {"dataset_dir": str(dataset), "output_dir": str(folder), "device": "$torch.device('cpu')"}
    line = [sys.executable, "-c", DYING, json.dumps({**places, **SMALL, **short_training})]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    dead = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert dead.returncode == -9, dead.stderr
    return folder


@pytest.mark.slow
def test_kill_in_mid_write_leaves_the_checkpoint_before(killed: Path) -> None:
    assert read_checkpoint(killed / "last.pt")["epoch"] == 2
    assert len(read_history(killed)) == 3  # the third epoch was noted, and will come again


@pytest.mark.slow
def test_resumed_training_equals_one_that_was_never_stopped(
    run_bundle: Callable, trained: Path, killed: Path, short_training: dict, dataset: Path
) -> None:
    run_bundle("train", dataset_dir=dataset, output_dir=killed, resume=True, **short_training)
    whole, resumed = (read_checkpoint(folder / "last.pt") for folder in (trained, killed))
    assert {"network", "optimizer", "lr_scheduler", "epoch", "random_state", "best_model"} <= whole.keys()
    assert differences(whole, resumed) == []
    assert differences(read_checkpoint(trained / "model.pt"), read_checkpoint(killed / "model.pt")) == []
    assert differences(read_history(trained), read_history(killed)) == []
    assert not list(killed.glob(".*")), "the half checkpoint of the killed process is still there"


# --- what cannot be resumed -------------------------------------------------------------------------------------------


def test_earlier_training_is_not_overwritten(
    run_bundle: Callable, refused: Callable, trained: Path, short_training: dict, dataset: Path
) -> None:
    before = {path: path.read_bytes() for path in trained.iterdir()}
    with refused(trained / "last.pt", "an earlier training is here", "--resume"):
        run_bundle("train", dataset_dir=dataset, output_dir=trained, **short_training)
    assert {path: path.read_bytes() for path in trained.iterdir()} == before


def test_resume_false_is_no_resume(run_bundle: Callable, dataset: Path, tmp_path: Path) -> None:
    sizes = {"max_epochs": 1, "pairs_per_epoch": 1, "val_interval": 1}
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path / "out", resume="false", **sizes)
    assert (tmp_path / "out" / "model.pt").exists()


@pytest.fixture
def resume(run_bundle: Callable, short_training: dict, dataset: Path) -> Callable[..., None]:
    """`resume(folder, max_epochs=5, ...)`: go on with the short training in that folder."""

    def run(folder: Path, **options: Any) -> None:
        given = {"dataset_dir": dataset, "output_dir": folder, **short_training, **options}
        run_bundle("train", resume=True, **given)

    return run


def test_resume_without_a_checkpoint_is_refused(resume: Callable, refused: Callable, tmp_path: Path) -> None:
    with refused(tmp_path / "new" / "last.pt", "no such checkpoint to resume from"):
        resume(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_resume_of_a_finished_training_says_so(resume: Callable, refused: Callable, trained: Path) -> None:
    with refused(trained / "last.pt", "all 4 epochs are done", "--max_epochs"):
        resume(trained)


def test_resume_with_another_network_names_what_differs(resume: Callable, refused: Callable, trained: Path) -> None:
    with refused(trained / "last.pt", "does not fit the network", "other shape", "encoder"):
        resume(trained, max_epochs=5, overrides={"network_def#channels": [8, 8, 16]})


@pytest.mark.parametrize("kind", ["imagesTr", "labelsTr"])
def test_resume_on_other_scans_is_refused(
    resume: Callable, refused: Callable, trained: Path, dataset: Path, tmp_path: Path, kind: str
) -> None:
    moved = shutil.copytree(dataset, tmp_path / "moved")
    before = shutil.copytree(trained, tmp_path / "training")
    resume(before, dataset_dir=moved, max_epochs=5)  # the same files in another place
    scans = sorted((moved / kind).iterdir())
    shutil.copy(scans[0], scans[-1])  # of the validation
    checkpoint = (before / "last.pt").read_bytes()
    with refused(before / "last.pt", "was on other scans", "--weights"):
        resume(before, dataset_dir=moved, max_epochs=6)
    assert (before / "last.pt").read_bytes() == checkpoint


def test_checkpoint_of_an_earlier_version_is_resumed(resume: Callable, trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "training")
    content = read_checkpoint(folder / "last.pt")
    del content["data"]
    torch.save(content, folder / "last.pt")
    resume(folder, max_epochs=5)
    assert len(read_history(folder)) == 5


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_resume_from_a_broken_checkpoint_says_so(
    resume: Callable, refused: Callable, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with refused(tmp_path / "last.pt", "read safely"):
        resume(tmp_path)
    assert (tmp_path / "last.pt").read_bytes() == content


def test_resume_from_weights_alone_says_what_they_lack(
    resume: Callable, refused: Callable, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "last.pt").write_bytes((trained / "model.pt").read_bytes())
    with refused(tmp_path / "last.pt", "not a training checkpoint", "optimizer"):
        resume(tmp_path)
