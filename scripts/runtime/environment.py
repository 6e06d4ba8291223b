"""The environment of the processes that this project starts."""

import os

# How long a thread that waits for the others spins before it sleeps. GNU's OpenMP, which torch's Linux builds carry,
# reads this when it is loaded: in a process that has torch, it is too late to set it.
WAITING = {"GOMP_SPINCOUNT": "1000"}


def sets_waiting() -> bool:
    """Whether this process's environment says how threads wait."""
    return any(name in os.environ for name in (*WAITING, "OMP_WAIT_POLICY"))


def child_environment() -> dict[str, str]:
    """This process's environment for another one, whose waiting threads soon leave the CPU to others.

    By default they spin for long. Beside other work on all cores, they spin while the thread that they wait for has no
    core. What the user has set stays.
    """
    return {**os.environ, **({} if sets_waiting() else WAITING)}
