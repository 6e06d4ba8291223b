# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of weights."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from scripts.training.averaging import ExponentialMovingAverage


def averages(decay: float, values: list[float]) -> list[float]:
    """Average after each step of a weight that has these values after the steps."""
    network, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    handler = ExponentialMovingAverage(network, average, decay)
    found = []
    for iteration, value in enumerate(values, start=1):
        nn.init.constant_(network.weight, value)
        handler(SimpleNamespace(state=SimpleNamespace(iteration=iteration)))
        found.append(average.weight.item())
    return found


def test_average_without_decay_is_the_last_weight_to_the_bit() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)).tolist()
    assert averages(0, values) == values


def test_average_of_equal_weights_is_that_weight() -> None:
    assert averages(0.999, [0.3] * 50) == pytest.approx([0.3] * 50, rel=1e-6)


def test_average_is_exponential_after_its_warmup() -> None:
    # The decay of 0.5 is reached after 9 steps; until then it is n / (n + 9).
    values = [float(step % 7) for step in range(30)]
    expected, mean = [], 0.0
    for n, value in enumerate(values):
        decay = min(0.5, n / (n + 9))
        mean = decay * mean + (1 - decay) * value
        expected.append(mean)
    assert averages(0.5, values) == pytest.approx(expected, rel=1e-5)


def test_first_steps_do_not_dominate_a_short_training() -> None:
    # With a constant decay of 0.999, the first weight of 1 would still count 0.999^99 = 0.9 after 100 steps.
    assert averages(0.999, [1.0] + [0.0] * 99)[-1] < 1e-3


def equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("ema_decay", [0, 0.9])
def test_average_is_validated_and_saved(run_bundle: Callable, dataset: Path, tmp_path: Path, ema_decay: float) -> None:
    sizes = {"max_epochs": 1, "pairs_per_epoch": 3, "learning_rate": 0.01}
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, ema_decay=ema_decay, **sizes)
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    assert equal(last["average"], last["network"]) == (ema_decay == 0)
    assert equal(torch.load(tmp_path / "model.pt", weights_only=True), last["average"])
    run_bundle("train", "evaluate", dataset_dir=dataset, output_dir=tmp_path)
    evaluated = json.loads((tmp_path / "metrics.json").read_text())["summary"]["dice"]["mean"]
    with open(tmp_path / "history.csv", newline="") as file:
        *_, row = csv.DictReader(file)
    assert float(row["dice"]) == pytest.approx(evaluated, rel=1e-6)
