# SPDX-License-Identifier: Apache-2.0
"""What is measured of a training step, and how rounds become a table."""

import time
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from torch.nn.functional import conv3d

from scripts.evaluation.benchmark_table import Device, table_rows
from scripts.evaluation.benchmark_worker import (
    PARTS,
    Training,
    count_calls,
    count_flop,
    make_training,
    measure,
    measure_step,
    random_pair,
)
from scripts.io.configs import read_configs

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
SIZE = [32, 32, 32]
SMALL = {"network_def#channels": [8, 8, 8]}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> ConfigParser:
    monkeypatch.chdir(ROOT)
    config = read_configs("configs/train.json")
    config.update(SMALL)
    return config


@pytest.fixture
def training(config: ConfigParser) -> Training:
    return make_training(config, CPU, SIZE, spacing=1, label_dir=None)


def test_parts_of_a_step_are_no_more_than_the_step(training: Training) -> None:
    measure_step(training, CPU)
    times = measure_step(training, CPU)
    assert set(times) == {f"{part}_{kind}" for part in (*PARTS, "step") for kind in ("seconds", "cpu_seconds")}
    for kind in ("seconds", "cpu_seconds"):
        assert sum(times[f"{part}_{kind}"] for part in PARTS) <= times[f"step_{kind}"]


def test_time_counts_where_it_is_spent(training: Training) -> None:
    def slow_loss(fields: list[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        time.sleep(0.3)
        return training.loss(fields, target)

    times = measure_step(training._replace(loss=slow_loss), CPU)
    assert times["loss_seconds"] > 0.3
    assert times["step_seconds"] > 0.3


def test_steps_train(training: Training) -> None:
    before = [weights.clone() for weights in training.network.parameters()]
    figures = measure(training, CPU, steps=1)
    assert any((now != then).any() for now, then in zip(training.network.parameters(), before, strict=True))
    assert figures["peak_memory_mb"] > 100
    assert figures["operator_calls"] > 1000
    assert "peak_gpu_memory_mb" not in figures


def test_operators_are_counted_with_those_that_they_call() -> None:
    x = torch.ones(4)
    assert count_calls(lambda: x.sin().cos(), CPU) == {"operator_calls": 2}
    assert count_calls(lambda: torch.zeros(4), CPU) == {"operator_calls": 3}  # zeros, and in it empty and zero_


def test_arithmetic_is_that_of_products_and_convolutions() -> None:
    a, b = torch.ones(3, 4, requires_grad=True), torch.ones(4, 5, requires_grad=True)
    forward = 2 * 3 * 4 * 5
    assert count_flop(lambda: a @ b) == forward
    assert count_flop(lambda: (a @ b).sum().backward()) == 3 * forward  # a gradient for each factor
    image, weight = torch.ones(1, 2, 6, 6, 6), torch.ones(5, 2, 3, 3, 3)
    assert count_flop(lambda: conv3d(image, weight)) == 2 * (5 * 4**3) * (2 * 3**3)


def test_random_pairs_look_like_stripped_brains() -> None:
    pair = random_pair([48, 64, 48])
    assert pair.shape == (1, 2, 48, 64, 48)
    assert pair.min() == 0 and 0.9 < pair.max() <= 1
    assert 0.2 < (pair > 0).float().mean() < 0.6
    assert (pair[..., 0] == 0).all()
    inside = pair[0, :, 20:28, 28:36, 20:28]
    assert (inside.diff(dim=1).abs() < 0.2).all() and inside.std() > 0.01
    assert (pair[:, 0] != pair[:, 1]).any()


def test_pairs_from_label_maps_are_drawn_anew(config: ConfigParser, label_dir: Path) -> None:
    training = make_training(config, CPU, SIZE, spacing=1, label_dir=str(label_dir))
    images, target = training.draw()
    assert images.shape == (1, 2, *SIZE) and target.shape == (1, 4, *SIZE)
    assert (training.draw()[0] != images).any()
    assert measure_step(training, CPU)["data_cpu_seconds"] > 0


def test_ratios_are_of_rounds_and_medians_over_them() -> None:
    runs = {
        name: [{"step_seconds": seconds, "gflop": 10.0} for seconds in rounds]
        for name, rounds in {"ours": (1.0, 2.0, 9.0), "theirs": (2.0, 2.0, 3.0)}.items()
    }
    device = Device("CPU", 1, "float32", gflop_per_second=20, copied_gb_per_second=1)
    rows = {row["figure"]: row for row in table_rows("2mm", (4, 5, 6), runs, device)}
    place = {"size": "2mm", "voxels": "4×5×6", "figure": "step_seconds"}
    ratios = {"ratio": 1, "ratio_min": 0.5, "ratio_max": 3}
    assert rows["step_seconds"] == {**place, "ours": 2, "theirs": 2, **ratios}
    assert rows["least_seconds"]["ours"] == 0.5
    assert rows["matrix_rate_percent"]["ours"] == 25  # of rounds 50, 25 and 6 %
    assert "ours" not in rows["data_seconds"]
