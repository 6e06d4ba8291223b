"""The environment of the processes that this project starts."""

import os

# Number of spins of a waiting thread before it sleeps. GNU's OpenMP, which is part of torch's Linux builds, reads it
# when it is loaded, so it has no effect in a process that has already imported torch.
WAITING = {"GOMP_SPINCOUNT": "1000"}


def sets_waiting() -> bool:
    """Whether the environment of this process sets how threads wait."""
    return any(name in os.environ for name in (*WAITING, "OMP_WAIT_POLICY"))


def child_environment() -> dict[str, str]:
    """Environment for a child process: that of this one, with a short spin time for waiting threads.

    By default they spin for a long time. If other processes use all cores, they then keep the core that the thread they
    wait for needs. A setting of the user is kept.
    """
    return {**os.environ, **({} if sets_waiting() else WAITING)}
