# SPDX-License-Identifier: Apache-2.0
"""What every process of this project needs: errors, other processes, seeds, memory, progress."""

from scripts.runtime.devices import usable_device
from scripts.runtime.errors import InputError, QualityError, find_input_error, first_line, report_error
from scripts.runtime.evaluator import SharedEvaluator
from scripts.runtime.options import check_options
from scripts.runtime.processes import gathered, join, own_device, rank, share, wait_for_others
from scripts.runtime.progress import Progress
from scripts.runtime.seeds import seed_from_torch
from scripts.runtime.setup import bundle_version, flag, start, supports_bf16
from scripts.runtime.timing import timed

__all__ = [
    "InputError",
    "Progress",
    "QualityError",
    "SharedEvaluator",
    "bundle_version",
    "check_options",
    "find_input_error",
    "first_line",
    "flag",
    "gathered",
    "join",
    "own_device",
    "rank",
    "report_error",
    "seed_from_torch",
    "share",
    "start",
    "supports_bf16",
    "timed",
    "usable_device",
    "wait_for_others",
]
