# SPDX-License-Identifier: Apache-2.0
"""Benchmark of a training step: time of its parts, memory and calls, compared with the device and another version."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from scripts.conventions import EXIT_MEMORY
from scripts.environment import short_waiting
from scripts.evaluation.benchmark_table import OURS, THEIRS, Device, Rounds, table_rows, write_tables
from scripts.evaluation.benchmark_worker import Measurements
from scripts.io import read_configs
from scripts.registration import start_registration
from scripts.runtime import InputError
from scripts.signals import run_child
from scripts.synthesis import label_map_files

WORKER = Path(__file__).with_name("benchmark_worker.py").resolve()
SIZES = {  # size of the images, voxels, and their voxel size in voxels of the label maps
    "2mm": ((80, 112, 96), 2),
    "boxes": ((96, 112, 96), 1),
    "full": ((160, 224, 192), 1),
}
# For each kind of device: default number of steps, rows of the matrices and bytes of the copies that are timed.
STEPS = {"cpu": 3, "cuda": 20}
MATRIX_WIDTH = {"cpu": 2048, "cuda": 8192}
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**30}


def benchmark_training(
    output_dir: str,
    sizes: str = ",".join(SIZES),
    steps: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    label_dir: str | None = None,
    against: str | None = None,
    rounds: int = 3,
    config_file: str = "configs/train.json",
) -> None:
    """Measure training steps of batch size 1, and write `benchmark.csv` and `benchmark.md`.

    Args:
        output_dir: folder for the tables.
        sizes: names of image sizes, from `SIZES`, with commas between.
        steps: number of steps that the medians are taken over, from 1; by default that of `STEPS`.
        threads: number of CPU threads, from 1; None leaves it to torch.
        device: cpu or cuda; by default the GPU if there is one.
        label_dir: folder of label maps that the pairs are synthesized from; None uses a random pair in memory.
        against: commit to compare the files in the current folder with.
        rounds: number of times that both versions are measured alternately, from 1; without `against` it is once.
        config_file: training config, relative to the current folder or the commit; or several with commas between.

    Raises:
        InputError: if a file or an argument is bad.
    """
    start_registration(output_dir, 0, threads)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    steps = STEPS[device] if steps is None else steps
    _check_arguments(sizes, steps, rounds, device, label_dir)
    config = read_configs(config_file)
    config["device"] = f"$torch.device('{device}')"
    options = {"config_file": config_file, "device": device, "steps": steps, "threads": threads, "label_dir": label_dir}
    with ExitStack() as stack:
        # The commit first: what it lacks ends the command before anything is measured.
        folders = {} if against is None else {THEIRS: stack.enter_context(checkout(against))}
        folders[OURS] = Path.cwd()
        measured = measure_device(device, bf16=config.get_parsed_content("train#inferer").bf16)
        rows = []
        for size in sizes.split(","):
            runs = alternating(size, folders, rounds if against else 1, options)
            rows += table_rows(size, SIZES[size][0], runs, measured)
    write_tables(Path(output_dir), rows, measured, against, steps)


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A temporary folder with the files of a commit.

    Args:
        commit: name or hash of the commit.

    Raises:
        InputError: if git is not installed, the current folder is no git checkout, or it has no such commit.
    """
    found = _git(commit, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}")
    with TemporaryDirectory(prefix="msfbnet-") as parent:
        folder = Path(parent) / "checkout"
        try:
            _git(commit, "worktree", "add", "--detach", str(folder), found)
            yield folder
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", folder], capture_output=True, check=False)


def alternating(
    size: str, folders: Mapping[str, Path], rounds: int, options: Mapping[str, object]
) -> dict[str, Rounds]:
    """Measure all versions alternately, so that other load on the machine affects them equally.

    Args:
        size: name of the image size, from `SIZES`.
        folders: name and folder of each version.
        rounds: number of measurements of each, from 1.
        options: options of the worker; those that are None are left out.

    Returns:
        Measurements of the worker for each version, one entry a round.
    """
    voxels, spacing = SIZES[size]
    words = ["--spacing", str(spacing), "--size", *map(str, voxels)]
    words += [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    runs: dict[str, Rounds] = {name: [] for name in folders}
    for number in range(1, rounds + 1):
        for name, folder in folders.items():
            measured = _run_worker(folder, words)
            runs[name].append(measured)
            seconds = f"{measured['step_seconds']:.3g} s, {measured['step_cpu_seconds']:.3g} CPU seconds a step"
            print(f"{size}, {name}, round {number} of {rounds}: {seconds}", flush=True)
    return runs


def measure_device(name: str, bf16: bool) -> Device:
    """Measure the time of products of large matrices and of large copies.

    Args:
        name: cpu or cuda.
        bf16: whether the matrices are bfloat16, as the network's; float32 otherwise.
    """
    device, precision = torch.device(name), torch.bfloat16 if bf16 else torch.float32
    matrix = torch.randn(2 * (MATRIX_WIDTH[name],), device=device, dtype=precision)
    product_seconds = _least_seconds(lambda: matrix @ matrix, device)
    source = torch.ones(COPIED_BYTES[name], device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    copy_seconds = _least_seconds(lambda: target.copy_(source), device)
    return Device(
        name=torch.cuda.get_device_name() if name == "cuda" else "CPU",
        threads=torch.get_num_threads(),
        precision="bfloat16" if bf16 else "float32",
        gflop_per_second=2 * len(matrix) ** 3 / product_seconds / 1e9,
        copied_gb_per_second=2 * source.nbytes / copy_seconds / 1e9,
    )


def _least_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of ten runs: other load and the first call make runs slower."""
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _check_arguments(sizes: str, steps: int, rounds: int, device: str, label_dir: str | None) -> None:
    unknown = [size for size in sizes.split(",") if size not in SIZES]
    if unknown:
        raise InputError(f"--sizes {unknown[0]}: choose of {','.join(SIZES)}")
    for name, value in (("steps", steps), ("rounds", rounds)):
        if value < 1:
            raise InputError(f"--{name} {value}: want a number from 1")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU; give --device cpu")
    if label_dir is not None:
        label_map_files(label_dir)


def _run_worker(folder: Path, words: Sequence[str]) -> Measurements:
    # MONAI warns in every run that configs are code; torch's profiler prints that it starts and stops.
    quiet = {"PYTHONWARNINGS": "ignore", "KINETO_LOG_LEVEL": "99"}
    command = [sys.executable, str(WORKER), *words]
    environment = {**os.environ, **short_waiting(), **quiet}  # the spin time of threads is that of a training
    done = run_child(command, folder, environment)
    if done.returncode < 0:
        print("error: the measurement was killed, probably because there was not enough memory", file=sys.stderr)
        sys.exit(EXIT_MEMORY)
    if done.returncode:
        sys.exit(done.returncode)  # the worker has printed the reason
    return json.loads(done.stdout.splitlines()[-1])


def _git(commit: str, *words: str) -> str:
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError as error:
        raise InputError(f"--against {commit}: needs git, which is not installed") from error
    except subprocess.CalledProcessError as error:
        message = error.stderr.strip().splitlines()[-1]
        raise InputError(f"--against {commit}: git says '{message}'; give a commit of this folder's history") from error
