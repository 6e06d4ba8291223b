# SPDX-License-Identifier: Apache-2.0
"""PairMetric in ignite's and MONAI's engines: mean, value of each pair, files."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import MetricsSaver
from torch import Tensor

from scripts.metrics import (
    PairMetric,
    dice_per_label,
    hd95_per_label,
    label_tre,
    non_diffeomorphic_volume,
    percent_folding,
    sdlogj,
    tre,
)

LABELS = [1, 2, 3]


def pairs(count: int = 3) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    size = (6, 7, 8)
    return [
        {
            "fixed_label": torch.randint(0, 4, (1, *size), generator=generator),
            "warped_label": torch.randint(0, 4, (1, *size), generator=generator),
            "pred": torch.randn(3, *size, generator=generator),
            "moving_mask": torch.rand(1, *size, generator=generator) > 0.5,
            "fixed_keypoints": 5 * torch.rand(4, 3, generator=generator),
            "moving_keypoints": 5 * torch.rand(4, 3, generator=generator),
        }
        for _ in range(count)
    ]


def run(metric: PairMetric, batches: list[Any]) -> Engine:
    engine = Engine(lambda _, batch: batch)
    metric.attach(engine, "metric")
    engine.run(batches)
    return engine


BOTH_LABELS = {"fixed_label": "fixed_label", "warped_label": "warped_label"}
ALL_METRICS = {
    "dice": (partial(dice_per_label, labels=LABELS), BOTH_LABELS),
    "hd95": (partial(hd95_per_label, labels=LABELS), BOTH_LABELS),
    "label_tre": (partial(label_tre, labels=LABELS), BOTH_LABELS),
    "tre": (tre, {"field": "pred", "fixed_points": "fixed_keypoints", "moving_points": "moving_keypoints"}),
    "ndv": (non_diffeomorphic_volume, {"field": "pred", "mask": "moving_mask"}),
    "folding": (percent_folding, {"field": "pred"}),
    "sdlogj": (sdlogj, {"field": "pred"}),
}


@pytest.mark.parametrize("name", ALL_METRICS)
def test_mean_and_values_are_those_of_the_function(name: str) -> None:
    function, inputs = ALL_METRICS[name]
    data = pairs()
    engine = run(PairMetric(function, inputs), [data[:2], data[2:]])
    values = [function(**{a: pair[key] for a, key in inputs.items()}).mean().item() for pair in data]
    assert values[0] != values[1]
    assert engine.state.metrics["metric"] == pytest.approx(np.mean(values), rel=1e-6)
    np.testing.assert_allclose(engine.state.metric_details["metric"].numpy(), values, rtol=1e-6)


def test_batches_and_lists_give_the_same() -> None:
    data = pairs(4)
    batch = {key: torch.stack([pair[key] for pair in data]) for key in data[0]}
    function, inputs = ALL_METRICS["tre"]
    listed = run(PairMetric(function, inputs), [data]).state.metrics["metric"]
    assert run(PairMetric(function, inputs), [batch]).state.metrics["metric"] == pytest.approx(listed)


def test_pair_without_landmarks_is_left_out_of_the_mean() -> None:
    data = pairs()
    del data[1]["fixed_keypoints"]
    function, inputs = ALL_METRICS["tre"]
    engine = run(PairMetric(function, inputs), [data])
    details = engine.state.metric_details["metric"]
    assert details.isnan().tolist() == [False, True, False]
    assert engine.state.metrics["metric"] == pytest.approx(details[[0, 2]].mean().item())


def test_absent_label_is_left_out_of_the_value() -> None:
    pair = pairs(1)[0]
    pair["warped_label"] = torch.where(pair["warped_label"] == 2, 0, pair["warped_label"])
    dice = dice_per_label(pair["fixed_label"], pair["warped_label"], LABELS)
    engine = run(PairMetric(*ALL_METRICS["dice"]), [[pair]])
    assert engine.state.metrics["metric"] == pytest.approx(dice[[0, 2]].mean().item())


def test_second_run_forgets_the_first() -> None:
    metric = PairMetric(*ALL_METRICS["sdlogj"])
    engine = Engine(lambda _, batch: batch)
    metric.attach(engine, "metric")
    data = pairs()
    engine.run([data])
    engine.run([data[:1]])
    assert engine.state.metrics["metric"] == pytest.approx(sdlogj(data[0]["pred"]).item())
    assert len(engine.state.metric_details["metric"]) == 1


def test_functions_get_plain_tensors() -> None:
    def kind(x: Tensor) -> Tensor:
        return torch.tensor(float(type(x) is Tensor))

    engine = run(PairMetric(kind, {"x": "x"}), [[{"x": MetaTensor(torch.ones(1, 2, 2, 2))}]])
    assert engine.state.metrics["metric"] == 1.0


def test_no_pair_has_no_mean() -> None:
    with pytest.raises(NotComputableError):
        PairMetric(*ALL_METRICS["sdlogj"]).compute()


def test_evaluator_of_a_config_writes_one_row_per_pair(tmp_path: Path) -> None:
    config = ConfigParser(
        {
            "labels": LABELS,
            "dice": {
                "_target_": "scripts.metrics.PairMetric",
                "function": {"_target_": "scripts.metrics.dice_per_label", "_mode_": "callable", "labels": "@labels"},
                "inputs": {"fixed_label": "fixed_label", "warped_label": "warped_label"},
            },
            "ndv": {
                "_target_": "scripts.metrics.PairMetric",
                "function": {"_target_": "scripts.metrics.non_diffeomorphic_volume", "_mode_": "callable"},
                "inputs": {"field": "pred", "mask": "moving_mask"},
            },
        }
    )
    data = pairs()
    names = [f"pair{i}.nii.gz" for i in range(3)]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[
            {
                **{key: value[None] for key, value in pair.items() if key != "pred"},
                "image": pair["pred"][None],
                "label": pair["pred"][None],
                "filename_or_obj": [name],
            }
            for pair, name in zip(data, names, strict=True)
        ],
        network=torch.nn.Identity(),
        key_val_metric={"dice": config.get_parsed_content("dice")},
        additional_metrics={"ndv": config.get_parsed_content("ndv")},
        val_handlers=[
            MetricsSaver(
                save_dir=str(tmp_path),
                metric_details="*",
                batch_transform=lambda batch: [{"filename_or_obj": pair["filename_or_obj"]} for pair in batch],
                summary_ops=["mean", "std"],
            )
        ],
    )
    evaluator.run()

    ndv = [non_diffeomorphic_volume(pair["pred"], pair["moving_mask"]).item() for pair in data]
    assert evaluator.state.metrics["ndv"] == pytest.approx(np.mean(ndv), rel=1e-6)
    header, *lines = (tmp_path / "ndv_raw.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == names
    assert [float(line.split(",")[1]) for line in lines] == pytest.approx(ndv, rel=1e-6)
    assert "mean,std" in (tmp_path / "dice_summary.csv").read_text()
    assert evaluator.state.metrics["dice"] == evaluator.state.metrics[evaluator.state.key_metric_name]
    assert header.startswith("filename")
