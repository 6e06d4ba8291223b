"""What happens before anything is loaded."""

import os
import sys
from pathlib import Path
from types import TracebackType

import torch
from monai.utils import set_determinism

from scripts.world import InputError, find_input_error

EXIT_INPUT = 3


def start(seed: int | None = None) -> None:
    """Begin a workflow: seed everything, and answer bad input with one line on stderr and exit code 3.

    Args:
        seed: for Python, NumPy and torch, None leaves them as they are. On the CPU it determines every bit.
    """
    sys.excepthook = _report
    if seed is not None:
        set_determinism(seed)
        # On a GPU the gradient of a warp adds up in an order of its own, so slower convolutions would gain nothing.
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True


def flag(value: bool | str) -> bool:
    """A switch of the command line, where `--resume false` arrives as text.

    Raises:
        InputError: for anything but true and false.
    """
    known = {"true": True, "false": False}
    if str(value).lower() not in known:
        raise InputError(f"{value} is neither true nor false")
    return known[str(value).lower()]


def supports_bf16(device: torch.device | str) -> bool:
    """Whether training gains from bf16 autocast there."""
    return torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()


def start_training(output_dir: str, resume: bool, seed: int) -> None:
    """Begin training, unless it would overwrite an earlier one.

    Args:
        output_dir: where checkpoints and logs go; made if need be.
        resume: whether to go on from the last checkpoint in it.
        seed: for Python, NumPy and torch.

    Raises:
        InputError: if there is a checkpoint and `resume` is off, or none and it is on, or `output_dir` is a file.
    """
    start(seed)
    last = Path(output_dir) / "last.pt"
    if last.exists() and not resume:
        raise InputError(f"{last}: an earlier training is here; add --resume true or choose another --output_dir")
    if resume and not last.exists():
        raise InputError(f"{last}: no such checkpoint to resume from; check --output_dir")
    check_folder(output_dir)
    Path(output_dir).mkdir(parents=True, exist_ok=True)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Whether a folder of that name can be made or is there.

    Raises:
        InputError: if it, or a folder on the way to it, is a file.
    """
    there = next(folder for folder in (Path(path), *Path(path).absolute().parents) if folder.exists())
    if not there.is_dir():
        raise InputError(f"{there}: a file, not a folder; choose another --output_dir")


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # MONAI wraps what its components raise; the user's mistake is somewhere along the chain.
    found = find_input_error(error)
    if found is None:
        sys.__excepthook__(kind, error, trace)
        return
    print(f"error: {found}", file=sys.stderr)
    sys.exit(EXIT_INPUT)
