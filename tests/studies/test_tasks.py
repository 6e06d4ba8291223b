# SPDX-License-Identifier: Apache-2.0
"""Tasks side by side: what is done is left out, a failure or a stop ends the others."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from scripts.runtime import InputError
from scripts.signals import run_child
from scripts.studies.tasks import Task, carry_out


def task(name: str, noted: list[str], work: Callable[[Event], None] = lambda stop: None, done: int = 0) -> Task:
    def noting(stop: Event) -> None:
        work(stop)
        noted.append(name)

    return Task(name, 2, lambda: 2 if name in noted else done, noting)


def test_tasks_run_in_order_and_those_that_are_done_do_not(capsys: pytest.CaptureFixture) -> None:
    noted: list[str] = []
    tables: list[int] = []
    tasks = [task("a", noted), task("b", noted, done=2), task("c", noted, done=1)]
    carry_out(tasks, 1, lambda: tables.append(len(noted)))
    assert noted == ["a", "c"] and tables[-1] == 2 and len(tables) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["a: done", "c: done"]
    assert "6/6" in printed.err


def test_two_jobs_run_side_by_side() -> None:
    noted: list[str] = []
    met = [Event(), Event()]

    def meet(own: int) -> Callable[[Event], None]:
        def work(stop: Event) -> None:
            met[own].set()
            assert met[1 - own].wait(20)

        return work

    carry_out([task("a", noted, meet(0)), task("b", noted, meet(1))], 2, lambda: None)
    assert sorted(noted) == ["a", "b"]


def test_a_failure_ends_the_others_and_is_what_is_raised() -> None:
    noted: list[str] = []

    def fail(stop: Event) -> None:
        raise InputError("no such scan")

    def wait_for_the_end(stop: Event) -> None:
        assert stop.wait(20)
        raise InterruptedError

    tasks = [task("waits", noted, wait_for_the_end), task("fails", noted, fail), task("later", noted)]
    with pytest.raises(InputError, match="no such scan"):
        carry_out(tasks, 2, lambda: None)
    assert "waits" not in noted


def test_a_stop_ends_a_child(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    began = time.monotonic()
    with (tmp_path / "log.txt").open("w") as log, pytest.raises(InterruptedError):
        run_child(command, tmp_path, os.environ, stop, log)
    assert time.monotonic() - began < 20


def test_the_log_has_what_a_child_prints_to_stderr(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"]
    with (tmp_path / "log.txt").open("w") as log:
        done = run_child(command, tmp_path, os.environ, Event(), log)
    assert (done.returncode, done.stdout) == (0, "out\n")
    assert (tmp_path / "log.txt").read_text() == "err\n"
