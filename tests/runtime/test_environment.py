"""How threads wait in the processes that are started."""

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


def test_threads_of_a_child_spin_for_a_short_time_and_all_else_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", "1")
    assert child_environment() == {**os.environ, "GOMP_SPINCOUNT": "1000"}
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "ACTIVE")])
def test_what_the_user_has_set_stays(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert child_environment() == dict(os.environ)


def test_commands_and_the_workers_of_the_benchmark_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def run(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess:
        given.append(env)
        return subprocess.CompletedProcess(command, 0, stdout="{}")

    monkeypatch.setattr(subprocess, "run", run)
    bundle_run("training", "configs/train.json")
    benchmark._run_worker(Path.cwd(), [])
    assert [environment["GOMP_SPINCOUNT"] for environment in given] == ["1000", "1000"]
    assert not any("OMP_WAIT_POLICY" in environment for environment in given)
