"""What every process of this project needs: errors, other processes, seeds, memory, progress."""

from scripts.runtime.errors import InputError, QualityError, find_input_error, first_line, report_error
from scripts.runtime.evaluator import SharedEvaluator
from scripts.runtime.processes import gathered, join, own_device, rank, share, wait_for_others
from scripts.runtime.progress import Progress
from scripts.runtime.seeds import seed_from_torch
from scripts.runtime.setup import flag, start, supports_bf16
from scripts.runtime.stages import stage

__all__ = [
    "InputError",
    "Progress",
    "QualityError",
    "SharedEvaluator",
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
    "stage",
    "start",
    "supports_bf16",
    "wait_for_others",
]
