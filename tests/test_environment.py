# SPDX-License-Identifier: Apache-2.0
"""How threads wait."""

import os
import subprocess
from pathlib import Path

import pytest

from scripts.demo import bundle_run
from scripts.environment import short_waiting
from scripts.evaluation import benchmark


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)


def test_threads_spin_for_a_short_time() -> None:
    assert short_waiting() == {"GOMP_SPINCOUNT": "1000"}
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "ACTIVE")])
def test_a_setting_of_the_user_is_kept(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert short_waiting() == {}


def test_commands_of_the_demo_and_the_workers_of_the_benchmark_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setenv("OTHER", "1")

    def run(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess:
        given.append(env)
        return subprocess.CompletedProcess(command, 0, stdout='{"step_seconds": 1, "step_cpu_seconds": 1}')

    monkeypatch.setattr(subprocess, "run", run)
    bundle_run("training", "configs/train.json")
    benchmark.alternating("2mm", {"ours": Path.cwd()}, rounds=1, options={})
    assert [environment["GOMP_SPINCOUNT"] for environment in given] == ["1000", "1000"]
    assert all(environment["OTHER"] == "1" for environment in given)
