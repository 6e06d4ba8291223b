# SPDX-License-Identifier: Apache-2.0
"""Signals that end a process, and processes that end with the one that started them.

This loads nothing, so that the command line can use it at once.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

_ENDING = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_GRACE = 10.0  # seconds that a process has to tidy up: one step of a training, or of an alignment

_AGAIN = 0.1  # seconds until a process ends that Python has not let end


def end_on_signals() -> None:
    """Let signals that end this process end it as an error would: what is half written is removed, and so are workers.

    The exit code is that of a shell, 128 and the number of the signal. A signal that is ignored, as SIGHUP with
    `nohup`, stays ignored.
    """
    sys.unraisablehook = partial(_end_later, sys.unraisablehook)
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # another one must not interrupt the tidying up
    os.write(2, f"\nended by {signal.Signals(number).name}\n".encode())  # print may be what was interrupted
    raise _Ended(number)


class _Ended(SystemExit):
    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def _end_later(others: Callable[[Any], None], unraisable: Any) -> None:
    """Hook of Python for exceptions that it ignores: the one that ends the process is raised again, a little later.

    They are ignored in `__del__`, in which a training is whenever it ends its workers, and in what is called at a fork.
    """
    ended = unraisable.exc_value
    if not isinstance(ended, _Ended):
        others(unraisable)
        return
    signal.signal(ended.number, _end)
    again = threading.Timer(_AGAIN, os.kill, (os.getpid(), ended.number))
    again.daemon = True
    again.start()


def run_child(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    stop: threading.Event | None = None,
    log: TextIO | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a process to its end; if this process ends before, so does that one, with all that it has started.

    Args:
        command: the process's command.
        folder: folder that it runs in.
        environment: its environment.
        stop: event that ends the process; for calls in threads, where no signal and no Ctrl-C arrives.
        log: file that gets what it prints to stderr; None leaves that on this process's stderr.

    Returns:
        Its exit code, and what it has printed to stdout.

    Raises:
        InterruptedError: if `stop` was set before it ended.
    """
    # A session of its own: Ctrl-C comes to this process alone, and the group can be ended as a whole.
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
    ) as child:
        try:
            printed = _wait_for(child, stop)
        except BaseException:
            _end_group(child)
            raise
    return subprocess.CompletedProcess(command, child.returncode, printed)


def _wait_for(child: subprocess.Popen[str], stop: threading.Event | None) -> str:
    """What a process has printed when it ends."""
    while True:
        try:
            # A signal that arrives just before a call that blocks is heeded only after it: no call may block for long.
            return child.communicate(timeout=0.2)[0]
        except subprocess.TimeoutExpired:
            if stop is not None and stop.is_set():
                raise InterruptedError("told to stop") from None


def _end_group(child: subprocess.Popen[str]) -> None:
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
