"""Errors that a user can mend, and the exit code of each kind."""

import errno
import os
import sys
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist

from scripts.conventions import EXIT_BUG, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_MEMORY, EXIT_QUALITY

_UNWRITABLE = (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.ENOSPC, errno.EPERM, errno.EROFS)
_NO_MEMORY = "can't allocate memory"  # torch's word for it on the CPU, in a RuntimeError
_LOST = "Connection closed by peer"  # gloo's word, likewise


class InputError(ValueError):
    """Bad user input; the message is one line: which file, what is wrong, what to do."""


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` behind an exception: MONAI's Compose wraps what its transforms raise in RuntimeError.

    Args:
        error: any exception.

    Returns:
        The first `InputError` along the chain of `__cause__`, or None.
    """
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


class QualityError(RuntimeError):
    """Registrations were made and saved, but should not be used as they are; the message is one line."""


def report_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's `sys.excepthook`: one line for what a user can mend, and the exit code that says of which kind it is.

    Bad input and files 3, memory 4, quality 5, interrupted 130; anything else is a bug: its traceback, and 1.
    """
    code, message = _explain(error)
    if code is None:
        sys.__excepthook__(kind, error, trace)
        sys.exit(EXIT_BUG)
    if _is_first_to_say(message):
        print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _is_first_to_say(message: str) -> bool:
    """Whether no other process of the same run has: what one stumbles over, most often all do."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    try:
        # torchrun's own memory, which outlives the processes.
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(*address, is_master=False, timeout=timedelta(seconds=5))
        return store.add(f"said: {message}", 1) == 1
    except RuntimeError:
        return True


def _explain(error: BaseException) -> tuple[int | None, str]:
    # MONAI wraps what its components raise; the user's mistake is somewhere along the chain.
    found = find_input_error(error)
    if found is not None:
        return EXIT_INPUT, str(found)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError | torch.OutOfMemoryError) or _NO_MEMORY in str(cause):
            return EXIT_MEMORY, "not enough memory; close other programs, or use a machine or device with more"
        if isinstance(cause, RuntimeError) and _LOST in str(cause):
            return EXIT_BUG, "another process has ended; what it said stands above, and what torchrun found below"
        if isinstance(cause, OSError) and cause.errno in _UNWRITABLE:
            return EXIT_INPUT, f"{cause.filename or 'a result'}: cannot be written ({cause.strerror})"
        if isinstance(cause, QualityError):
            return EXIT_QUALITY, str(cause)
        if isinstance(cause, KeyboardInterrupt):
            return EXIT_INTERRUPTED, "interrupted"
        cause = cause.__cause__
    return None, ""
