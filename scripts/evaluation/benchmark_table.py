"""The figures of a benchmark, as CSV and Markdown."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TextIO

from scripts.evaluation.benchmark_worker import PARTS, Figures
from scripts.io import write_complete

OURS, THEIRS = "ours", "theirs"
FIGURES = {
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

Rounds = list[Figures]
Row = dict[str, Any]


class Device(NamedTuple):
    """What the steps run on.

    Attributes:
        name: of the GPU, or CPU.
        threads: of the CPU.
        precision: that the network computes in.
        gflop_per_second: matrix rate, of products of large matrices in that precision.
        copied_gb_per_second: bandwidth of large copies, 10^9 bytes read and written.
    """

    name: str
    threads: int
    precision: str
    gflop_per_second: float
    copied_gb_per_second: float


def table_rows(size: str, voxels: Sequence[int], runs: Mapping[str, Rounds], device: Device) -> list[Row]:
    """A row for each figure that was measured: medians over the rounds, and the ratio of ours to theirs.

    Args:
        size: name of it.
        voxels: of the images, along each axis.
        runs: the worker's figures for each version, round by round.
        device: to compare with.

    Returns:
        Rows of `size`, `voxels`, `figure`, a column for each version, and with two of them `ratio`, the median of the
        rounds' ratios, `ratio_min` and `ratio_max`.
    """
    compared = {name: [_beside_the_device(figures, device) for figures in rounds] for name, rounds in runs.items()}
    place = {"size": size, "voxels": "×".join(map(str, voxels))}
    columns = {figure: _columns(figure, compared) for figure in FIGURES}
    shown = (figure for figure, cells in columns.items() if cells or figure in _ALWAYS_SHOWN)
    return [{**place, "figure": figure, **columns[figure]} for figure in shown]


def write_tables(folder: Path, rows: Sequence[Row], device: Device, against: str | None, steps: int) -> None:
    """Write `benchmark.csv` and `benchmark.md`, and print the latter.

    Args:
        folder: where they go.
        rows: of `table_rows`.
        device: that was measured.
        against: the commit of the column `theirs`.
        steps: that the medians are of.
    """
    about = {**device._asdict(), "against": against}

    def write(file: TextIO) -> None:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in [*rows, about] for name in row)))
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)

    write_complete(folder / "benchmark.csv", write)
    text = f"{_heading(device, steps)}\n{_table(rows, against)}"
    write_complete(folder / "benchmark.md", lambda file: print(text, end="", file=file))
    print(f"\n{text}\ntable: {folder / 'benchmark.md'}")


def _beside_the_device(figures: Figures, device: Device) -> Figures:
    step, least = figures["step_seconds"], figures["gflop"] / device.gflop_per_second
    compared = {**figures, "least_seconds": least, "matrix_rate_percent": 100 * least / step}
    if "gpu_seconds" in figures:
        compared["gpu_busy_percent"] = 100 * figures["gpu_seconds"] / figures.get("training_seconds", step)
    return compared


def _columns(figure: str, runs: Mapping[str, Rounds]) -> dict[str, float]:
    values = {name: [figures[figure] for figures in rounds] for name, rounds in runs.items() if figure in rounds[0]}
    columns = {name: median(measured) for name, measured in values.items()}
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
    lines = [header, ["---"] * len(header)]
    for row in rows:
        cells = [_shown(row.get(column)) for column in ((OURS, THEIRS, "ratio") if against else (OURS,))]
        if against:
            cells.append(f"{_shown(row['ratio_min'])} – {_shown(row['ratio_max'])}" if "ratio" in row else "–")
        lines.append([f"{row['size']} ({row['voxels']})", FIGURES[row["figure"]], *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
