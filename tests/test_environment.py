# SPDX-License-Identifier: Apache-2.0
"""How threads wait."""

import os
import subprocess
from pathlib import Path

import pytest

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


def test_workers_of_the_benchmark_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setenv("OTHER", "1")

    def run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
        given.append(environment)
        return subprocess.CompletedProcess(command, 0, stdout='{"step_seconds": 1, "step_cpu_seconds": 1}')

    monkeypatch.setattr(benchmark, "run_child", run)
    benchmark.alternating("2mm", {"ours": Path.cwd()}, rounds=1, options={})
    assert [environment["GOMP_SPINCOUNT"] for environment in given] == ["1000"]
    assert all(environment["OTHER"] == "1" for environment in given)
