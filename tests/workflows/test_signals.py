# SPDX-License-Identifier: Apache-2.0
"""Commands that are told to end: the exit code is a shell's, no process stays, and nothing is half written."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
SMALL = ["--network_def#channels", "[8,8,8]", "--device", "cpu"]

# A process that starts another one by `run_child`, which starts a third; both say so, and none would end by itself.
GRANDCHILD = "import time; print('third', flush=True); time.sleep(600)"
CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {GRANDCHILD!r}])"
PARENT = f"""
import os, sys
from pathlib import Path
from scripts.signals import end_on_signals, run_child
end_on_signals()
run_child([sys.executable, "-c", {CHILD!r}], Path.cwd(), os.environ)
"""

# A process that is in `__del__` when it is told to end: what is raised there is ignored by Python.
IN_DEL = """
import time
from scripts.signals import end_on_signals
class Slow:
    def __del__(self):
        print("in __del__", flush=True)
        time.sleep(600)
end_on_signals()
Slow()
time.sleep(600)
"""


def heed_signals() -> None:
    """What ignores a signal, as a process under nohup does, hands that on to those it starts."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Started:
    """A command in a session of its own, and all processes that come of it, wherever they are."""

    def __init__(self, command: list[object], log: Path, **environment: str) -> None:
        self.mark = f"STARTED_BY={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", name: value, **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=heed_signals,
            )

    def processes(self) -> list[int]:
        """Numbers of those that run."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def wait_until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def end(self, number: int) -> int:
        """Exit code, as a shell shows it, after a signal to the first process alone."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        return code if code >= 0 else 128 - code

    def left(self, seconds: float = 3) -> list[int]:
        """Those that still run some seconds later."""
        end = time.monotonic() + seconds
        while self.processes() and time.monotonic() < end:
            time.sleep(0.05)
        return self.processes()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """`started("-m", "scripts", ...)`: whatever still runs after the test is killed."""
    all_of_them: list[Started] = []

    def start(*command: object, **environment: str) -> Started:
        all_of_them.append(Started(list(command), tmp_path / f"log{len(all_of_them)}.txt", **environment))
        return all_of_them[-1]

    yield start
    for command in all_of_them:
        for process in command.processes():
            os.kill(process, signal.SIGKILL)
        command.process.wait()


@pytest.fixture
def pairs(tmp_path: Path, blob: Callable) -> Path:
    """A list of pairs that take longer than the test."""
    for seed, name in enumerate("FM"):
        nib.save(nib.Nifti1Image(blob((96, 112, 96), seed), np.eye(4)), tmp_path / f"{name}.nii.gz")
    rows = [{"fixed": "F.nii.gz", "moving": "M.nii.gz", "name": str(number)} for number in range(500)]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    return tmp_path / "pairs.json"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)], ids=["TERM", "HUP", "INT"]
)
def test_children_end_with_the_process_that_started_them(
    started: Callable[..., Started], number: int, code: int
) -> None:
    parent = started("-c", PARENT)
    parent.wait_until(lambda: len(parent.processes()) == 3)
    assert parent.end(number) in (code, 1 if number == signal.SIGINT else code)  # plain Python's own for Ctrl-C
    assert parent.left() == []


def test_a_signal_that_is_ignored_stays_ignored(started: Callable[..., Started], tmp_path: Path) -> None:
    code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {PARENT}"
    parent = started("-c", code)
    parent.wait_until(lambda: len(parent.processes()) == 3)
    parent.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert len(parent.processes()) == 3
    assert parent.end(signal.SIGTERM) == 143


def test_a_process_ends_where_python_ignores_what_is_raised(started: Callable[..., Started]) -> None:
    command = started("-c", IN_DEL)
    command.wait_until(lambda: "in __del__" in command.log.read_text())
    assert command.end(signal.SIGTERM) == 143
    assert "Traceback" not in command.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"])
def test_register_with_workers_ends_as_it_is_told(
    started: Callable[..., Started], pairs: Path, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out"
    options = ["--pairs", pairs, "--output_dir", out, "--workers", "2", "--init", "none", "--device", "cpu"]
    command = started("-m", "scripts", "register", *options)
    command.wait_until(lambda: len(command.processes()) >= 3)
    assert command.end(number) == code, command.log.read_text()[-2000:]
    assert command.left() == []
    assert "Traceback" not in command.log.read_text()
    assert list(out.rglob(".unfinished*")) == []
    for folder in out.glob("*/*"):
        assert (folder.parent / "metrics.json").exists()


@pytest.mark.slow
def test_training_with_workers_ends_as_it_is_told(
    started: Callable[..., Started], dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--dataset_dir", dataset, "--output_dir", out, "--pairs_per_epoch", "2", "--max_epochs", "100000"]
    workers = ["--train#dataloader#num_workers", "2"]
    line = ["run", "training", "--config_file", "configs/train.json", *options, *workers, *SMALL]
    command = started("-m", "monai.bundle", *line)
    command.wait_until(lambda: len(command.processes()) >= 3 and (out / "last.pt").exists())
    assert command.end(signal.SIGTERM) == 143, command.log.read_text()[-2000:]
    assert command.left() == []
    assert "Traceback" not in command.log.read_text()
    assert list(out.rglob(".unfinished*")) == []


@pytest.mark.slow
def test_benchmark_ends_its_worker(started: Callable[..., Started], tmp_path: Path) -> None:
    command = started("-m", "scripts", "benchmark", "training", "--sizes", "full", "--output_dir", tmp_path / "out")
    command.wait_until(lambda: len(command.processes()) >= 2)
    assert command.end(signal.SIGTERM) == 143, command.log.read_text()[-2000:]
    assert command.left() == []
