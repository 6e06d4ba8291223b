# SPDX-License-Identifier: Apache-2.0
"""The commands and the code of docs/consumers.md, letter by letter but for sizes: other software runs the bundle."""

import csv
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from fire.parser import DefaultParseValue
from monai.bundle import run
from monai.fl.client import MonaiAlgo
from monai.fl.utils.exchange_object import ExchangeObject
from torch import Tensor

from tests.fixtures.bundle import SMALL

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "consumers.md").read_text()
ON_CPU = {**SMALL, "device": "$torch.device('cpu')"}


# --- NVIDIA FLARE -----------------------------------------------------------------------------------------------------


def largest(weights: Mapping[str, Tensor]) -> float:
    return max(value.abs().max().item() for value in weights.values())


@pytest.fixture
def client(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchanged_process: Callable
) -> Iterator[MonaiAlgo]:
    """What the documented code leaves after its two rounds, on a tiny network with two steps a round."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    for wanted, given in {
        '"dataset_dir": "DATASET"': f'"dataset_dir": "{dataset}", **{ON_CPU!r}',
        "OUT/": f"{tmp_path}/",
        '"max_epochs": rounds, "pairs_per_epoch": 100': '"max_epochs": rounds + 1, "pairs_per_epoch": 2',
    }.items():
        assert wanted in code
        code = code.replace(wanted, given)
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    with unchanged_process():
        exec(code, names)
        yield names["client"]


@pytest.mark.filterwarnings("ignore:executing the bundle config")
def test_federated_client_takes_the_servers_weights(
    client: MonaiAlgo, run_bundle: Callable, dataset: Path, tmp_path: Path, random_weights: Path
) -> None:
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("site-1_")
    assert {"history.csv", "metrics.csv"} <= {path.name for path in folder.iterdir()}
    assert (client.trainer.state.epoch, client.trainer.state.iteration) == (2, 4)

    # A third round, from weights far from the client's own: two steps of Adam at this rate go nowhere near back.
    server = torch.load(random_weights, weights_only=True)
    own = client.trainer.network.state_dict()
    assert own.keys() == server.keys()
    assert largest({name: own[name] - server[name] for name in own}) > 0.1
    client.train(ExchangeObject(weights=server))
    assert 0 < largest(client.get_weights().weights) < 0.001

    metrics = client.evaluate(ExchangeObject(weights=server)).metrics
    evaluated = run_bundle("train", "evaluate", dataset_dir=dataset, output_dir=tmp_path, weights=random_weights)
    assert metrics == evaluated.evaluator.state.metrics


# --- MLflow -----------------------------------------------------------------------------------------------------------


def run_documented(run_id: str, **overrides: Any) -> None:
    """Run the documented command of this ID in this process, with other values for some of its arguments."""
    (line,) = re.findall(rf"^    python -m monai.bundle run {run_id} (.*--tracking mlflow)$", TEXT, re.MULTILINE)
    words = shlex.split(line)
    typed = {name.lstrip("-"): DefaultParseValue(value) for name, value in zip(words[::2], words[1::2], strict=True)}
    assert {"dataset_dir": "DATASET", "output_dir": "OUT"}.items() <= typed.items()
    run(run_id, logging_file=False, **{**typed, **ON_CPU, **overrides})


def test_mlflow_tracks_training_and_evaluation(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchanged_process: Callable
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(ROOT)
    given = {"dataset_dir": str(dataset), "output_dir": str(tmp_path)}
    with unchanged_process():
        sizes = {"max_epochs": 2, "pairs_per_epoch": 2, "val_interval": 1}
        run_documented("training", **given, **sizes, save_execute_config=f"{tmp_path}/config.json")
        run_documented("evaluating", **given)

    tracked = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
    experiment = tracked.get_experiment_by_name("monai_experiment")
    evaluation, training = tracked.search_runs(experiment.experiment_id)  # the latest comes first

    def history(name: str) -> list[tuple[int, float]]:
        return [(entry.step, entry.value) for entry in tracked.get_metric_history(training.info.run_id, name)]

    with open(tmp_path / "history.csv", newline="") as file:
        epochs = list(csv.DictReader(file))
    losses = history("train_loss")
    assert [step for step, _ in losses] == [1, 2, 3, 4]
    assert (losses[0][1] + losses[1][1]) / 2 == pytest.approx(float(epochs[0]["loss"]))
    for name in ("loss", "dice", "ndv_percent"):
        assert history(name) == [(int(epoch["epoch"]), float(epoch[name])) for epoch in epochs]
    assert training.info.status == "FINISHED"
    assert [file.path for file in tracked.list_artifacts(training.info.run_id)] == ["config.json"]
    summary = json.loads((tmp_path / "metrics.json").read_text())["summary"]
    for name in ("dice_before", "dice", "hd95", "tre", "ndv_percent"):
        assert evaluation.data.metrics[name] == pytest.approx(summary[name]["mean"])


def test_mlflow_does_not_hinder_registration(
    small_dataset: Path,
    random_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unchanged_process: Callable,
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.chdir(ROOT)
    given = {"dataset_dir": str(small_dataset), "output_dir": str(tmp_path), "weights": str(random_weights)}
    with unchanged_process(), suppress(RuntimeError):  # the verdict on random weights
        run_documented("inference", **given, init="none", network_size=[1, 1, 1])
    assert len(list(tmp_path.glob("*/moved.nii.gz"))) == 2
    assert (tmp_path / "mlruns.db").is_file()


# --- Triton -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["input", "output"])
def test_triton_serves_what_the_metadata_says(role: str) -> None:
    (tensor,) = re.findall(rf"^{role} \[{{ (.*) }}\]$", TEXT, re.MULTILINE)
    name, kind, dims = re.fullmatch(r'name: "(\w+)", data_type: (\w+), dims: \[(.*)\]', tensor).groups()
    metadata = json.loads((ROOT / "configs" / "metadata.json").read_text())["network_data_format"]
    ((wanted, described),) = metadata[f"{role}s"].items()
    assert (name, kind, described["dtype"]) == (wanted, "TYPE_FP32", "float32")
    assert [int(size) for size in dims.split(",")] == [
        1,
        described["num_channels"],
        *[-1] * len(described["spatial_shape"]),
    ]
