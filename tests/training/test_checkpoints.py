# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: complete or absent, with the best weights or all that a resumed training needs."""

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from scripts.runtime.errors import InputError
from scripts.training.checkpoints import BestModel, LastCheckpoint


def validated(value: float) -> SimpleNamespace:
    """An evaluator after a validation with this Dice."""
    return SimpleNamespace(state=SimpleNamespace(metrics={"dice": value}, key_metric_name="dice"))


def saved_bias(path: Path) -> float:
    return torch.load(path, weights_only=True)["bias"].item()


def validate_all(best: BestModel, values: list[float]) -> list[int]:
    """Validate epochs 0, 1, ... with these metrics; the epoch of the saved weights after each of them."""
    on_disk = []
    for epoch, value in enumerate(values):
        nn.init.constant_(best.network.bias, epoch)
        best(validated(value))
        on_disk.append(int(saved_bias(best.path)))
    return on_disk


# --- the best model ---------------------------------------------------------------------------------------------------


def test_best_weights_are_kept(tmp_path: Path) -> None:
    best = BestModel(tmp_path / "model.pt", nn.Linear(1, 1))
    assert validate_all(best, [0.5, 0.4, 0.7, 0.7, 0.6]) == [0, 0, 2, 2, 2]
    assert best.best == 0.7


def test_last_weights_are_kept_without_a_metric(tmp_path: Path) -> None:
    assert validate_all(BestModel(tmp_path / "model.pt", nn.Linear(1, 1)), [np.nan, np.nan]) == [0, 1]


def test_nan_is_not_better_than_a_number(tmp_path: Path) -> None:
    assert validate_all(BestModel(tmp_path / "model.pt", nn.Linear(1, 1)), [0.5, np.nan, 0.4]) == [0, 0, 0]


def test_number_is_better_than_nan(tmp_path: Path) -> None:
    assert validate_all(BestModel(tmp_path / "model.pt", nn.Linear(1, 1)), [np.nan, 0.5, 0.4]) == [0, 1, 1]


def test_best_metric_is_restored(tmp_path: Path) -> None:
    first = BestModel(tmp_path / "model.pt", nn.Linear(1, 1))
    assert validate_all(first, [0.5]) == [0]
    second = BestModel(tmp_path / "model.pt", nn.Linear(1, 1))
    second.load_state_dict(first.state_dict())
    second(validated(0.4))
    assert saved_bias(tmp_path / "model.pt") == 0


def test_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = BestModel(tmp_path / "model.pt", nn.Linear(1, 1))
    validate_all(best, [0.5])

    def disk_full(content: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(InputError, match="no space"):
        best(validated(0.9))
    assert saved_bias(tmp_path / "model.pt") == 0


# --- the last checkpoint ----------------------------------------------------------------------------------------------


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()


def test_checkpoint_restores_all_random_generators(tmp_path: Path) -> None:
    checkpoint = LastCheckpoint(tmp_path / "last.pt", {})
    engine = Engine(lambda _, batch: batch)
    checkpoint.save(engine)
    wanted = [drawn(), drawn()]
    checkpoint.restore(engine)
    assert [drawn(), drawn()] == wanted


def test_checkpoint_is_read_without_unpickling(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(2)).sum().backward()
    optimizer.step()
    LastCheckpoint(tmp_path / "last.pt", {"network": network, "optimizer": optimizer}).save(Engine(lambda *_: None))
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    assert {"network", "optimizer", "random_state", "epoch", "iteration", "data"} == content.keys()


def test_checkpoint_includes_changes_of_later_handlers(tmp_path: Path) -> None:
    class Counter(dict):
        def state_dict(self) -> dict:
            return dict(self)

    counter, engine = Counter(epochs=0), Engine(lambda *_: None)
    LastCheckpoint(tmp_path / "last.pt", {"counter": counter}).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: counter.update(epochs=counter["epochs"] + 1))
    engine.run([0], max_epochs=3)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["counter"] == {"epochs": 3}


def test_each_network_gets_its_own_weights(tmp_path: Path) -> None:
    networks = {"network": nn.Linear(2, 2), "average": nn.Linear(2, 2)}
    checkpoint, engine = LastCheckpoint(tmp_path / "last.pt", networks), Engine(lambda *_: None)
    before = {name: network.weight.detach().clone() for name, network in networks.items()}
    checkpoint.save(engine)
    for network in networks.values():
        nn.init.zeros_(network.weight)
    checkpoint.restore(engine)
    assert all(torch.equal(network.weight, before[name]) for name, network in networks.items())


def test_resumed_training_continues_warmup_and_average(
    run_bundle: Callable, bundle: Callable, unchanged_process: Callable, dataset: Path, tmp_path: Path
) -> None:
    options = {"warmup_steps": 5, "ema_decay": 0.9, "clip_norm": 0.01, "folding_weight": 1.0}
    given = {"dataset_dir": dataset, "max_epochs": 2, "pairs_per_epoch": 3, "learning_rate": 0.01, **options}
    run_bundle("train", output_dir=tmp_path / "straight", **given)

    def interrupt() -> None:
        raise KeyboardInterrupt

    interrupted = bundle("train", output_dir=tmp_path / "resumed", **given)
    with unchanged_process():
        interrupted.initialize()
        interrupted.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=5), interrupt)
        with pytest.raises(KeyboardInterrupt):
            interrupted.trainer.run()
    run_bundle("train", output_dir=tmp_path / "resumed", resume=True, **given)

    straight, resumed = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("straight", "resumed"))
    for name in ("network", "average"):
        assert all(torch.equal(straight[name][key], value) for key, value in resumed[name].items())
    assert not torch.equal(straight["average"]["heads.0.bias"], straight["network"]["heads.0.bias"])
    assert straight["optimizer"]["param_groups"] == resumed["optimizer"]["param_groups"]


def test_no_unfinished_file_remains(tmp_path: Path) -> None:
    engine = Engine(lambda *_: None)
    LastCheckpoint(tmp_path / "last.pt", {}).attach(engine)
    engine.run([0], max_epochs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_restarted_trainer_saves_once_per_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = torch.save, []
    monkeypatch.setattr(torch, "save", lambda content, path: (saved.append(content["epoch"]), save(content, path)))
    engine = Engine(lambda *_: None)
    LastCheckpoint(tmp_path / "last.pt", {}).attach(engine)
    for epochs in (1, 2):
        engine.run([0], max_epochs=epochs)
    assert saved == [1, 2]
