"""What happens before anything is loaded."""

import ctypes
import errno
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

import SimpleITK as sitk
import torch
import torch.distributed as dist
from ignite.distributed import sync
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from scripts.environment import WAITING, sets_waiting
from scripts.processes import rank
from scripts.world import InputError, existing_file, find_input_error

EXIT_INPUT = 3  # input, or files that cannot be read or written
EXIT_MEMORY = 4
EXIT_QUALITY = 5
EXIT_INTERRUPTED = 130

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h
_UNWRITABLE = (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.ENOSPC, errno.EPERM, errno.EROFS)
_NO_MEMORY = "can't allocate memory"  # torch's word for it on the CPU, in a RuntimeError
_LOST = "Connection closed by peer"  # gloo's word, likewise

logger = logging.getLogger(__name__)


class QualityError(RuntimeError):
    """Registrations were made and saved, but should not be used as they are; the message is one line."""


def start(seed: int | None = None) -> None:
    """Begin a workflow: seed everything, keep freed memory, answer bad input with a line on stderr and an exit code.

    Args:
        seed: for Python, NumPy and torch, None leaves them as they are. On the CPU it determines every bit.
    """
    sys.excepthook = report_error
    keep_memory()
    if seed is not None:
        set_determinism(seed)
        # On a GPU the gradient of a warp adds up in an order of its own, so slower convolutions would gain nothing.
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True


def own_device() -> torch.device:
    """The GPU of this process, among those that torchrun has started on a machine; the CPU where there is no GPU.

    Raises:
        InputError: if there are more processes than GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    index, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if index >= count:
        raise InputError(f"more processes than GPUs; give torchrun --nproc_per_node={count}")
    return torch.device("cuda", index)


def join(device: torch.device | str, backend: str | None = None, hours: float = 0.5) -> None:
    """Meet the processes that torchrun has started beside this one.

    Args:
        device: of this process.
        backend: of torch.distributed; by default nccl between GPUs, gloo between CPUs.
        hours: how long one waits for the others before it gives up.

    Raises:
        InputError: without torchrun.
    """
    if "RANK" not in os.environ:
        raise InputError("a run of several processes is started by torchrun (see docs/multi_gpu.md)")
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(backend or ("nccl" if on_gpu else "gloo"), timeout=timedelta(hours=hours))
    sys.excepthook = report_error  # torch has put its own around it, which waits for what the hook prints and returns
    if "SLURM_JOB_ID" in os.environ:
        # What ignite takes for the number on this machine; but SLURM knows of one process, torchrun.
        os.environ["SLURM_LOCALID"] = os.environ["LOCAL_RANK"]
    sync()  # ignite asks the others before its first metric, so all do it here
    if rank() > 0:
        logging.disable(logging.INFO)


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
    """Whether a network gains from bf16 autocast there: on a GPU or a CPU that computes in it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported()
    # Older versions of torch cannot tell.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.device(device).type == "cpu" and any(capabilities.get(f"{unit}_bf16") for unit in ("avx512", "amx"))


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
    _warn_of_other_work()


def _warn_of_other_work() -> None:
    """Say so where threads would spin while the one that they wait for has no core; on a GPU few do."""
    if sys.platform != "linux" or torch.cuda.is_available() or sets_waiting():
        return
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    if threads > 1 and threads + load > (os.cpu_count() or 1) + 0.5:
        ((name, value),) = WAITING.items()
        logger.warning(
            "other work keeps this machine busy (load %.1f), and %d threads that wait for each other make training "
            "several times slower; put %s=%s before the command (see docs/performance.md)",
            *(load, threads, name, value),
        )


def start_registration(output_dir: str | os.PathLike[str], seed: int, threads: int | None) -> None:
    """Begin registrations, unless their results could not be written.

    Args:
        output_dir: where results go; made if need be.
        seed: for Python, NumPy and torch.
        threads: of the CPU, for torch and SimpleITK; None leaves it to them.

    Raises:
        InputError: if `output_dir` cannot be written to, or `threads` is no number above 0.
    """
    start(seed)
    check_folder(output_dir)
    if threads is not None:
        if not str(threads).isdigit() or int(threads) < 1:
            raise InputError(f"--threads {threads}: want a number from 1")
        torch.set_num_threads(int(threads))
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(int(threads))


def keep_memory() -> None:
    """Have glibc keep the memory that is freed, for what comes next; does nothing where there is another C library.

    Otherwise it hands large blocks back at once, and every volume comes anew from the system, page by page: on the CPU
    that takes as long as computing with it does.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Whether a folder of that name can be made, or is there, and can be written to.

    Raises:
        InputError: if it, or a folder on the way to it, is a file or is not writable.
    """
    there = next(folder for folder in (Path(path), *Path(path).absolute().parents) if folder.exists())
    if not there.is_dir():
        raise InputError(f"{there}: a file, not a folder; choose another --output_dir")
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        raise InputError(f"{there}: cannot be written to ({error.strerror}); choose another --output_dir") from error


def report_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's `sys.excepthook`: one line for what a user can mend, and the exit code that says of which kind it is.

    Bad input and files 3, memory 4, quality 5, interrupted 130; anything else is a bug: its traceback, and 1.
    """
    code, message = _explain(error)
    if code is None:
        sys.__excepthook__(kind, error, trace)
        sys.exit(1)
    if _is_first_to_say(message):
        print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


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
            return 1, "another process has ended; what it said stands above, and what torchrun found below"
        if isinstance(cause, OSError) and cause.errno in _UNWRITABLE:
            return EXIT_INPUT, f"{cause.filename or 'a result'}: cannot be written ({cause.strerror})"
        if isinstance(cause, QualityError):
            return EXIT_QUALITY, str(cause)
        if isinstance(cause, KeyboardInterrupt):
            return EXIT_INTERRUPTED, "interrupted"
        cause = cause.__cause__
    return None, ""


def read_configs(config_file: str) -> ConfigParser:
    """The configs, written as the bundle runner wants them or with commas between.

    Raises:
        InputError: for a file that does not exist.
    """
    files = [str(existing_file(part.strip(" []'\""))) for part in config_file.split(",")]
    return ConfigParser(ConfigParser.load_config_files(files))
