"""What happens before anything is loaded."""

import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scripts.training.start import start_training

FAULTS = """
import resource, sys, torch
from scripts.runtime.setup import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(50_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_freed_memory_is_kept_for_what_comes_next() -> None:
    kept, handed_back = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True, text=True).stdout)
        for how in ("keep", "hand back")
    )
    assert kept < 0.01 * handed_back


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine of two cores without a GPU, both taken by other work, and two threads of ours."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 0.0, 0.0), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


def told(folder: Path, caplog: pytest.LogCaptureFixture, unchanged_process: Callable) -> list[str]:
    """What a training logs when it starts."""
    with unchanged_process(), caplog.at_level(logging.WARNING):
        start_training(str(folder), resume=False, seed=0)
    return caplog.messages


def test_training_on_a_busy_machine_says_what_to_put_before_the_command(
    busy: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, unchanged_process: Callable
) -> None:
    (line,) = told(tmp_path, caplog, unchanged_process)
    assert "load 2.0" in line and "2 threads" in line and "put GOMP_SPINCOUNT=1000 before the command" in line


@pytest.mark.parametrize(
    "why", ["idle", "one thread", "cores left", "spin count", "wait policy", "GPU", "another system"]
)
def test_training_says_nothing_where_there_is_nothing_to_gain(
    why: str, busy: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, unchanged_process: Callable
) -> None:
    if why == "idle":
        busy.setattr(os, "getloadavg", lambda: (0.4, 2.0, 2.0), raising=False)
    elif why == "one thread":
        busy.setattr(torch, "get_num_threads", lambda: 1)
    elif why == "cores left":
        busy.setattr(os, "cpu_count", lambda: 4)
    elif why == "spin count":
        busy.setenv("GOMP_SPINCOUNT", "300000")
    elif why == "wait policy":
        busy.setenv("OMP_WAIT_POLICY", "PASSIVE")
    elif why == "GPU":
        busy.setattr(torch.cuda, "is_available", lambda: True)
    else:
        busy.setattr(sys, "platform", "darwin")
    assert told(tmp_path, caplog, unchanged_process) == []
