# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can correct, and the exit code of each kind."""

import errno
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist

from scripts.conventions import EXIT_BUG, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_MEMORY, EXIT_QUALITY
from scripts.runtime.typed import misread_sign

_UNWRITABLE = (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.ENOSPC, errno.EPERM, errno.EROFS)
_NO_MEMORY = "can't allocate memory"  # in the RuntimeError of torch on the CPU
_LOST = "Connection closed by peer"  # in the RuntimeError of gloo


class InputError(ValueError):
    """Bad user input; the message is one line: which file, what is wrong, what to do."""


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` that caused an exception: MONAI's Compose wraps what its transforms raise in RuntimeError.

    Args:
        error: any exception.

    Returns:
        The first `InputError` along the chain of `__cause__`, or None.
    """
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


class QualityError(RuntimeError):
    """Registrations were saved, but their verdict is "fail"; the message is one line."""


def report_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Replacement of `sys.excepthook`: prints one line for an error that a user can correct, and sets the exit code.

    Exit codes: bad input and files 3, memory 4, quality 5, interrupted 130. Anything else is a bug: traceback and 1.

    Args:
        kind: class of the exception.
        error: the exception.
        trace: its traceback.
    """
    code, message = _explain(error)
    if code is None:
        sys.__excepthook__(kind, error, trace)
        sys.exit(EXIT_BUG)
    if _is_first_report(message):
        print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def first_line(error: BaseException) -> str:
    """First line of an error's message, or the name of its class if the message is empty."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _is_first_report(message: str) -> bool:
    """Whether no other process of the same run has printed this message: most errors occur in all processes."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    try:
        # torchrun's own store, which is still there when a process has ended.
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(*address, is_master=False, timeout=timedelta(seconds=5))
        return store.add(f"reported: {message}", 1) == 1
    except RuntimeError:
        return True


def _explain(error: BaseException) -> tuple[int | None, str]:
    """Exit code and message of an error; None and an empty text for a bug."""
    # MONAI wraps what its components raise, so the cause may be anywhere along the chain.
    found = find_input_error(error)
    if found is not None:
        return EXIT_INPUT, str(found)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError | torch.OutOfMemoryError) or _NO_MEMORY in str(cause):
            return EXIT_MEMORY, "not enough memory; close other programs, or use a machine or device with more"
        if isinstance(cause, RuntimeError) and _LOST in str(cause):
            return EXIT_BUG, "another process has ended; its message is above, and the summary of torchrun below"
        if isinstance(cause, OSError) and cause.errno in _UNWRITABLE:
            return EXIT_INPUT, f"{cause.filename or 'a result'}: cannot be written ({cause.strerror})"
        if isinstance(cause, QualityError):
            return EXIT_QUALITY, str(cause)
        if isinstance(cause, KeyboardInterrupt):
            return EXIT_INTERRUPTED, "interrupted"
        cause = cause.__cause__
    misread = misread_sign(" ".join(_messages(error)))
    return (None, "") if misread is None else (EXIT_INPUT, misread)


def _messages(error: BaseException | None) -> Iterator[str]:
    """What an exception and its causes say, and an expression of the config that is no Python."""
    while error is not None:
        yield f"{error} ${error.text}" if isinstance(error, SyntaxError) else str(error)
        error = error.__cause__ or error.__context__
