# SPDX-License-Identifier: Apache-2.0
"""Measure training steps of the version in the current folder, and print the measurements as one line of JSON.

It runs as a file, so that the same code measures every version: it uses only parts of `scripts` and the configs that
version 0.6.2 has as well (see `ROOMS`). `scripts.evaluation.benchmark` starts it, once for each size.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # import the version to measure, not the one of this file

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.nn.functional import interpolate
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

PARTS = ("data", "forward", "loss", "backward", "optimizer")

# Room of each name of `scripts`, since version 0.8 and before.
ROOMS = {
    "LabelMapPairs": ("synthesis", "data"),
    "RandSynthesizePaird": ("synthesis", "data"),
    "TrainingStep": ("training", "workflows"),
    "label_map_files": ("synthesis", "data"),
    "prepare_training_batch": ("training", "workflows"),
    "read_configs": ("io", "workflows.start"),
    "start": ("runtime", "workflows"),
    "timed": ("runtime", "workflows.stages"),
}
OLD_NAMES = {"timed": "stage"}

Batch = tuple[Tensor, Tensor]
Measurements = dict[str, float]


class Training(NamedTuple):
    """The parts of a training step.

    Attributes:
        draw: function that returns the images for the network, `(1, 2, D, H, W)`, and the target of the loss.
        network: network that is trained.
        inferer: function that returns the fields of all scales.
        loss: loss of these fields.
        optimizer: optimizer of the network.
    """

    draw: Callable[[], Batch]
    network: nn.Module
    inferer: Callable[[Tensor, nn.Module], list[Tensor]]
    loss: Callable[[list[Tensor], Tensor], Tensor]
    optimizer: torch.optim.Optimizer


def of_this_version(name: str) -> Any:
    """The object of a name in `scripts`, in the version that is measured.

    Args:
        name: a key of `ROOMS`.

    Raises:
        AttributeError: if that version does not have it.
    """
    new, old = (f"scripts.{room}" for room in ROOMS[name])
    if find_spec(new):
        return getattr(import_module(new), name)
    return getattr(import_module(old), OLD_NAMES.get(name, name))


def measure(training: Training, device: torch.device, steps: int) -> Measurements:
    """Measure training steps, after one that does not count.

    Args:
        training: parts of the step.
        device: device of the network.
        steps: number of steps that the medians are taken over, from 1.

    Returns:
        Medians of `measure_step`, `peak_memory_mb` of the process (on a GPU also `peak_gpu_memory_mb` and the result of
        `measure_training`), the result of `count_calls`, and `gflop`, the floating-point operations of matrix products
        and convolutions in a step, 10^9.
    """
    run_step(training)
    timings: dict[str, Measurements] = {}
    with of_this_version("timed")(timings, "steps"):
        times = [measure_step(training, device) for _ in range(steps)]
    measured = {name: median(step[name] for step in times) for name in times[0]}
    kinds = ("peak_memory_mb", "peak_gpu_memory_mb") if device.type == "cuda" else ("peak_memory_mb",)
    measured |= {kind: timings["steps"][kind] for kind in kinds}
    whole_step = partial(run_step, training)
    if device.type == "cuda":
        measured |= measure_training(training, device, steps)
    return measured | count_calls(whole_step, device) | {"gflop": count_flop(whole_step) / 1e9}


def measure_step(training: Training, device: torch.device) -> Measurements:
    """Measure the time of one step.

    Args:
        training: parts of the step.
        device: device of the network.

    Returns:
        `NAME_seconds` of the wall clock and `NAME_cpu_seconds` of all threads, for each of `PARTS` and for `step`.
    """
    times: Measurements = {}
    with timed(times, device, "step"):
        run_step(training, partial(timed, times, device))
    if device.type == "cuda":
        # Waiting for the device after each part makes the step longer, so another one is measured as a whole.
        with timed(times, device, "step"):
            run_step(training)
    return times


def measure_training(training: Training, device: torch.device, steps: int) -> Measurements:
    """Measure the time of steps as in a training, without waiting between them, captured if the version does that.

    Args:
        training: parts of the step.
        device: device of the network.
        steps: number of steps, from 1.

    Returns:
        `training_seconds`, the wall clock of a step, data included; empty for versions without `TrainingStep`.
    """
    try:
        step = of_this_version("TrainingStep")()
    except AttributeError:
        return {}
    engine: Any = SimpleNamespace(
        prepare_batch=lambda batch, *_: batch,
        state=SimpleNamespace(device=device),
        non_blocking=False,
        network=training.network,
        optimizer=training.optimizer,
        inferer=training.inferer,
        loss_function=training.loss,
        fire_event=lambda event: None,
    )
    for _ in range(5):  # the fourth is captured
        step(engine, training.draw())
    times: Measurements = {}
    with timed(times, device, "all"):
        for _ in range(steps):
            step(engine, training.draw())
    return {"training_seconds": times["all_seconds"] / steps}


def run_step(training: Training, around: Callable[[str], Any] = nullcontext) -> None:
    """Make one training step.

    Args:
        training: parts of the step.
        around: function that returns a context manager for a part, by its name in `PARTS`.
    """
    with around("data"):
        images, target = training.draw()
    with around("forward"):
        fields = training.inferer(images, training.network)
    with around("loss"):
        loss = training.loss(fields, target)
    with around("backward"):
        loss.backward()
    with around("optimizer"):
        training.optimizer.step()
        training.optimizer.zero_grad()


@contextmanager
def timed(times: Measurements, device: torch.device, name: str) -> Iterator[None]:
    """Add `NAME_seconds` and `NAME_cpu_seconds` of the block to `times`, after the device has finished."""
    _wait_for(device)
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    _wait_for(device)
    times[f"{name}_cpu_seconds"] = time.process_time() - cpu
    times[f"{name}_seconds"] = time.perf_counter() - wall


def count_calls(work: Callable[[], object], device: torch.device) -> Measurements:
    """Count calls of torch's operators or launches of GPU kernels.

    Args:
        work: function to profile.
        device: device that it computes on.

    Returns:
        On the CPU `operator_calls`, including those that operators make. On a GPU `kernel_launches`, including copies
        and fills, and `gpu_seconds`, the sum of their durations.
    """
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiler:
        work()
        _wait_for(device)
    events = profiler.events() or []
    if not on_gpu:
        return {"operator_calls": sum(event.name.startswith("aten::") for event in events)}
    kernels = [event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation]
    return {
        "kernel_launches": len(kernels),
        "gpu_seconds": sum(event.time_range.elapsed_us() for event in kernels) / 1e6,
    }


def count_flop(work: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in `work`, gradients included."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def make_training(
    config: ConfigParser, device: torch.device, size: list[int], spacing: int, label_dir: str | None
) -> Training:
    """The training step of a config, on a batch of one pair.

    Args:
        config: content of `configs/train.json`, overlays included.
        device: device that trains.
        size: size of the images along each axis, voxels.
        spacing: voxel size of the images, in voxels of the label maps, from 1.
        label_dir: folder of label maps that each pair is synthesized from; None uses one random pair in memory.

    Raises:
        InputError: if there are no label maps in the folder, or they cannot be read.
    """
    config["device"] = f"$torch.device('{device}')"
    if label_dir is None:
        pair = random_pair(size).to(device)
        draw = partial(tuple[Tensor, Tensor], (pair, pair))
    else:
        synthesize = of_this_version("RandSynthesizePaird")(spacing=spacing, size=size, device=device)
        pairs = of_this_version("LabelMapPairs")(of_this_version("label_map_files")(label_dir), synthesize)
        draw = partial(_synthetic_batch, pairs, device)
    parts = (config.get_parsed_content(name) for name in ("network", "train#inferer", "train#loss", "optimizer"))
    return Training(draw, *parts)


def random_pair(size: list[int]) -> Tensor:
    """Two smooth random images in [0, 1], `(1, 2, *size)`, zero outside an ellipsoid like skull-stripped brains."""
    coarse = torch.rand(1, 2, *(max(n // 8, 2) for n in size))
    axes = [torch.linspace(-1, 1, n) for n in size]
    distance = sum(along.square() for along in torch.meshgrid(*axes, indexing="ij"))
    return interpolate(coarse, size=size, mode="trilinear") * (distance < 0.8)


def _synthetic_batch(pairs: Dataset[dict[Hashable, Any]], device: torch.device) -> Batch:
    pair = pairs[1]  # from the first two label maps; all other parameters are random
    return of_this_version("prepare_training_batch")({key: pair[key][None] for key in ("image", "target")}, device)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config_file", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--size", type=int, nargs=3, required=True)
    parser.add_argument("--spacing", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--label_dir")
    given = parser.parse_args()
    of_this_version("start")(seed=0)
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    training = make_training(
        of_this_version("read_configs")(given.config_file), device, given.size, given.spacing, given.label_dir
    )
    measured = measure(training, device, given.steps)
    if given.label_dir is None:  # a pair in memory takes no time
        measured = {name: value for name, value in measured.items() if not name.startswith("data_")}
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
