# SPDX-License-Identifier: Apache-2.0
"""How long threads that wait for each other spin: a variable of the environment, read when torch is loaded.

This loads nothing, so that the command line can set it in time.
"""

import os

# How often a thread that waits for the others looks before it sleeps. GNU's OpenMP, which torch's Linux builds carry,
# reads this when it is loaded.
WAITING = {"GOMP_SPINCOUNT": "1000"}


def sets_waiting() -> bool:
    """Whether this process's environment says how threads wait."""
    return any(name in os.environ for name in (*WAITING, "OMP_WAIT_POLICY"))


def short_waiting() -> dict[str, str]:
    """Variables with which waiting threads soon leave the CPU to others; none where the user has set how they wait.

    By default they spin for long. Beside other work on all cores, they spin while the thread that they wait for has no
    core. They act in a process that is started with them, or that sets them before it loads torch.
    """
    return {} if sets_waiting() else WAITING
