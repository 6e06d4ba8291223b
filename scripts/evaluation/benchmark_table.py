# SPDX-License-Identifier: Apache-2.0
"""The measurements of a benchmark, as CSV and Markdown."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TextIO

from scripts.evaluation.benchmark_worker import PARTS, Measurements
from scripts.evaluation.markdown import markdown_table, write_markdown
from scripts.io import write_complete

OURS, THEIRS = "ours", "theirs"
# Title of each measurement in the table.
TITLES = {
    **{f"{part}_cpu_seconds": f"{part}: CPU seconds" for part in (*PARTS, "step")},
    **{f"{part}_seconds": f"{part}: seconds" for part in (*PARTS, "step")},
    "training_seconds": "step as in training, data included: seconds",
    "gpu_seconds": "sum of kernel times: seconds",
    "gpu_busy_percent": "GPU busy: % of the step",
    "peak_memory_mb": "peak memory of the process: MB",
    "peak_gpu_memory_mb": "peak memory on the GPU: MB",
    "operator_calls": "operator calls",
    "kernel_launches": "kernel launches",
    "gflop": "arithmetic: GFLOP",
    "least_seconds": "arithmetic at the matrix rate: seconds",
    "matrix_rate_percent": "arithmetic at the matrix rate: % of the step",
}
_ALWAYS_SHOWN = ("data_cpu_seconds", "data_seconds")

Rounds = list[Measurements]
Row = dict[str, Any]


class Device(NamedTuple):
    """The device that the steps run on.

    Attributes:
        name: name of the GPU, or CPU.
        threads: number of CPU threads, from 1.
        precision: precision of the network, float32 or bfloat16.
        gflop_per_second: matrix rate: products of large matrices in that precision, 10^9 operations per second.
        copied_gb_per_second: copy bandwidth: bytes that large copies read and write, 10^9 per second.
    """

    name: str
    threads: int
    precision: str
    gflop_per_second: float
    copied_gb_per_second: float


def table_rows(size: str, voxels: Sequence[int], runs: Mapping[str, Rounds], device: Device) -> list[Row]:
    """A row for each measurement: medians over the rounds, and the ratio of ours to theirs.

    Args:
        size: name of the image size.
        voxels: size of the images along each axis, voxels.
        runs: measurements of the worker for each version, one entry a round.
        device: device that the steps ran on.

    Returns:
        Rows of `size`, `voxels`, `figure`, a column for each version, and with two of them `ratio`, the median of the
        rounds' ratios, `ratio_min` and `ratio_max`.
    """
    complete = {name: [_with_device_rates(round_, device) for round_ in rounds] for name, rounds in runs.items()}
    image_size = {"size": size, "voxels": "×".join(map(str, voxels))}
    columns = {name: _columns(name, complete) for name in TITLES}
    shown = (name for name, cells in columns.items() if cells or name in _ALWAYS_SHOWN)
    return [{**image_size, "figure": name, **columns[name]} for name in shown]


def write_tables(folder: Path, rows: Sequence[Row], device: Device, against: str | None, steps: int) -> None:
    """Write `benchmark.csv` and `benchmark.md`, and print the latter.

    Args:
        folder: folder for the files.
        rows: rows of `table_rows`.
        device: device that the steps ran on.
        against: commit of the column `theirs`; None without one.
        steps: number of steps that the medians are taken over, from 1.
    """
    run = {**device._asdict(), "against": against}

    def write(file: TextIO) -> None:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in [*rows, run] for name in row)))
        writer.writeheader()
        writer.writerows({**row, **run} for row in rows)

    write_complete(folder / "benchmark.csv", write)
    write_markdown(folder / "benchmark.md", f"{_heading(device, steps)}\n{_table(rows, against)}")


def _with_device_rates(measured: Measurements, device: Device) -> Measurements:
    """The measurements of a step, and its arithmetic and GPU time in relation to what the device can do."""
    step, least = measured["step_seconds"], measured["gflop"] / device.gflop_per_second
    rates = {"least_seconds": least, "matrix_rate_percent": 100 * least / step}
    if "gpu_seconds" in measured:
        rates["gpu_busy_percent"] = 100 * measured["gpu_seconds"] / measured.get("training_seconds", step)
    return measured | rates


def _columns(name: str, runs: Mapping[str, Rounds]) -> dict[str, float]:
    """Median of a measurement for each version that has it, and the ratios of ours to theirs."""
    values = {version: [round_[name] for round_ in rounds] for version, rounds in runs.items() if name in rounds[0]}
    columns = {version: median(measured) for version, measured in values.items()}
    if OURS in values and THEIRS in values:
        ratios = [ours / theirs for ours, theirs in zip(values[OURS], values[THEIRS], strict=True)]
        columns |= {"ratio": median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
    return columns


def _heading(device: Device, steps: int) -> str:
    return f"""# Training steps

- Device: {device.name}, {device.precision}; threads of the CPU: {device.threads}.
- Matrix rate: {_shown(device.gflop_per_second)} GFLOP/s in {device.precision}.
- Copy bandwidth: {_shown(device.copied_gb_per_second)} GB/s, read and written.
- Medians over {steps} steps and the rounds. CPU seconds are those of all threads, MB are 2^20 bytes.
"""


def _table(rows: Sequence[Row], against: str | None) -> str:
    header = ["size", "figure", OURS, *([f"{against}", f"{OURS} ÷ {against}", "lowest – highest"] if against else [])]
    body = []
    for row in rows:
        cells = [_shown(row.get(column)) for column in ((OURS, THEIRS, "ratio") if against else (OURS,))]
        if against:
            cells.append(f"{_shown(row['ratio_min'])} – {_shown(row['ratio_max'])}" if "ratio" in row else "–")
        body.append([f"{row['size']} ({row['voxels']})", TITLES[row["figure"]], *cells])
    return markdown_table(header, body)


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
