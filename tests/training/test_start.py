# SPDX-License-Identifier: Apache-2.0
"""Start of a training: the warning about other work on the machine."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.training.start import start_training


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine of two cores and no GPU, with a load of 2, where this process has two threads."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 0.0, 0.0), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


@pytest.fixture
def warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture, unchanged_process: Callable) -> Callable[[], list[str]]:
    """`warnings()`: what a training logs when it starts."""

    def start() -> list[str]:
        with unchanged_process(), caplog.at_level(logging.WARNING):
            start_training(str(tmp_path), resume=False, seed=0, device="cpu")
        return caplog.messages

    return start


def test_warning_on_a_busy_machine_has_the_remedy(busy: pytest.MonkeyPatch, warnings: Callable) -> None:
    (line,) = warnings()
    assert "load 2.0" in line and "2 threads" in line and "put GOMP_SPINCOUNT=1000 before the command" in line


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (os, "getloadavg", lambda: (0.4, 2.0, 2.0)),
        (torch, "get_num_threads", lambda: 1),
        (os, "cpu_count", lambda: 4),
        (torch.cuda, "is_available", lambda: True),
        (sys, "platform", "darwin"),
    ],
    ids=["idle", "one thread", "cores left", "GPU", "another system"],
)
def test_no_warning_if_useless(busy: pytest.MonkeyPatch, warnings: Callable, owner: Any, name: str, value: Any) -> None:
    busy.setattr(owner, name, value, raising=False)
    assert warnings() == []


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "300000"), ("OMP_WAIT_POLICY", "PASSIVE")])
def test_no_warning_if_waiting_is_set(busy: pytest.MonkeyPatch, warnings: Callable, name: str, value: str) -> None:
    busy.setenv(name, value)
    assert warnings() == []
