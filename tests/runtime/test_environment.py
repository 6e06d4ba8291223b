"""The environment of child processes: how long their threads spin."""

import os
import subprocess
from pathlib import Path

import pytest

from scripts.command_line import bundle_run
from scripts.evaluation import benchmark
from scripts.runtime.environment import child_environment


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)


def test_only_the_spin_time_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", "1")
    assert child_environment() == {**os.environ, "GOMP_SPINCOUNT": "1000"}
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "ACTIVE")])
def test_a_setting_of_the_user_is_kept(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert child_environment() == dict(os.environ)


def test_commands_and_benchmark_workers_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def run(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess:
        given.append(env)
        return subprocess.CompletedProcess(command, 0, stdout='{"step_seconds": 1, "step_cpu_seconds": 1}')

    monkeypatch.setattr(subprocess, "run", run)
    bundle_run("training", "configs/train.json")
    benchmark.alternating("2mm", {"ours": Path.cwd()}, rounds=1, options={})
    assert [environment["GOMP_SPINCOUNT"] for environment in given] == ["1000", "1000"]
    assert not any("OMP_WAIT_POLICY" in environment for environment in given)
