# SPDX-License-Identifier: Apache-2.0
"""Tasks that other processes carry out, several side by side, with progress and the time left."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import NamedTuple

from tqdm import tqdm


class Task(NamedTuple):
    """Something that a process does.

    Attributes:
        name: what it is, for the progress line.
        size: number of units of work, from 1; units of all tasks take about the same time.
        done: function that returns how many of them are done, also while the task runs.
        work: function that does what is left in another process, which the event ends.
    """

    name: str
    size: int
    done: Callable[[], int]
    work: Callable[[Event], None]


def carry_out(tasks: Sequence[Task], jobs: int, after_each: Callable[[], None]) -> None:
    """Carry out tasks in their order.

    Args:
        tasks: the tasks; those that are done are left out.
        jobs: number of tasks side by side, from 1.
        after_each: function that is called when a task has ended.

    Raises:
        Exception: what the first task that failed has raised; the others are ended.
    """
    interval = 1.0 if sys.stderr.isatty() else 60.0
    missing = [task for task in tasks if task.done() < task.size]
    stop = Event()
    with (
        tqdm(total=sum(task.size for task in tasks), desc="study", mininterval=interval, dynamic_ncols=True) as bar,
        ThreadPoolExecutor(jobs) as pool,
    ):
        # What an earlier call has done counts, but not for the time left.
        bar.initial = bar.n = sum(min(task.done(), task.size) for task in tasks)
        running = {pool.submit(task.work, stop): task for task in missing}
        try:
            while running:
                ended, _ = wait(running, timeout=interval, return_when=FIRST_COMPLETED)
                done = sum(min(task.done(), task.size) for task in tasks)
                # A terminal overwrites its line, and shows the time going by; in a log file every update is a line.
                if done > bar.n or sys.stderr.isatty():
                    bar.n = done
                    bar.refresh()
                for future in ended:
                    _conclude(future, running.pop(future), bar)
                    after_each()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _conclude(future: Future[None], task: Task, bar: tqdm) -> None:
    future.result()  # raises what the task has raised
    bar.write(f"{task.name}: done", file=sys.stdout)
    sys.stdout.flush()
