"""Weights and checkpoints: nothing is run that a file says, nothing half written counts, the best stays the best."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from scripts.io.files import file_sha256
from scripts.io.weights import load_weights, read_weights, write_safetensors
from scripts.runtime.errors import InputError
from scripts.training.checkpoints import BestModel, LastCheckpoint

MODELS = Path(__file__).parents[2] / "models"


class Malicious:
    """An object whose unpickling runs a command: it leaves a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


def validated(value: float) -> SimpleNamespace:
    """An evaluator after a validation with this Dice."""
    return SimpleNamespace(state=SimpleNamespace(metrics={"dice": value}, key_metric_name="dice"))


def saved_bias(path: Path) -> float:
    return torch.load(path, weights_only=True)["bias"].item()


def validate_all(best: BestModel, values: list[float]) -> list[int]:
    """Validate after epoch 0, 1, ... with these values; the epoch whose weights are on disk after each."""
    on_disk = []
    for epoch, value in enumerate(values):
        nn.init.constant_(best.network.bias, epoch)
        best(validated(value))
        on_disk.append(int(saved_bias(best.path)))
    return on_disk


# --- the best model -------------------------------------------------------------------------------------------------


def test_best_model_stays_when_validation_gets_worse(tmp_path: Path) -> None:
    best = BestModel(tmp_path / "model.pt", nn.Linear(1, 1))
    assert validate_all(best, [0.5, 0.4, 0.7, 0.7, 0.6]) == [0, 0, 2, 2, 2]
    assert best.best == 0.7


def test_without_a_metric_the_last_model_is_kept(tmp_path: Path) -> None:
    assert validate_all(BestModel(tmp_path / "model.pt", nn.Linear(1, 1)), [np.nan, np.nan]) == [0, 1]


def test_nan_is_not_better_than_a_number(tmp_path: Path) -> None:
    assert validate_all(BestModel(tmp_path / "model.pt", nn.Linear(1, 1)), [0.5, np.nan, 0.4]) == [0, 0, 0]


def test_number_is_better_than_nan(tmp_path: Path) -> None:
    assert validate_all(BestModel(tmp_path / "model.pt", nn.Linear(1, 1)), [np.nan, 0.5, 0.4]) == [0, 1, 1]


def test_best_value_survives_a_restart(tmp_path: Path) -> None:
    first = BestModel(tmp_path / "model.pt", nn.Linear(1, 1))
    assert validate_all(first, [0.5]) == [0]
    second = BestModel(tmp_path / "model.pt", nn.Linear(1, 1))
    second.load_state_dict(first.state_dict())
    second(validated(0.4))
    assert saved_bias(tmp_path / "model.pt") == 0


def test_failure_while_saving_leaves_the_model_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = BestModel(tmp_path / "model.pt", nn.Linear(1, 1))
    validate_all(best, [0.5])

    def disk_full(content: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(InputError, match="no space"):
        best(validated(0.9))
    assert saved_bias(tmp_path / "model.pt") == 0


# --- the last checkpoint --------------------------------------------------------------------------------------------


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
    assert {"network", "optimizer", "random_state", "epoch", "iteration"} == content.keys()


def test_checkpoint_sees_what_later_handlers_did(tmp_path: Path) -> None:
    class Counter(dict):
        def state_dict(self) -> dict:
            return dict(self)

    counter, engine = Counter(epochs=0), Engine(lambda *_: None)
    LastCheckpoint(tmp_path / "last.pt", {"counter": counter}).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: counter.update(epochs=counter["epochs"] + 1))
    engine.run([0], max_epochs=3)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["counter"] == {"epochs": 3}


def test_every_network_gets_its_own_weights_back(tmp_path: Path) -> None:
    networks = {"network": nn.Linear(2, 2), "average": nn.Linear(2, 2)}
    checkpoint, engine = LastCheckpoint(tmp_path / "last.pt", networks), Engine(lambda *_: None)
    before = {name: network.weight.detach().clone() for name, network in networks.items()}
    checkpoint.save(engine)
    for network in networks.values():
        nn.init.zeros_(network.weight)
    checkpoint.restore(engine)
    assert all(torch.equal(network.weight, before[name]) for name, network in networks.items())


def test_resume_goes_on_in_the_middle_of_warmup_and_average(
    run_bundle: Callable, bundle: Callable, unchanged_process: Callable, dataset: Path, tmp_path: Path
) -> None:
    recipe = {"warmup_steps": 5, "ema_decay": 0.9, "clip_norm": 0.01, "folding_weight": 1.0}
    given = {"dataset_dir": dataset, "max_epochs": 2, "pairs_per_epoch": 3, "learning_rate": 0.01, **recipe}
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


def test_trainer_that_starts_again_saves_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = torch.save, []
    monkeypatch.setattr(torch, "save", lambda content, path: (saved.append(content["epoch"]), save(content, path)))
    engine = Engine(lambda *_: None)
    LastCheckpoint(tmp_path / "last.pt", {}).attach(engine)
    for epochs in (1, 2):
        engine.run([0], max_epochs=epochs)
    assert saved == [1, 2]


# --- loading --------------------------------------------------------------------------------------------------------


def test_weights_come_from_a_state_dict_a_training_checkpoint_or_safetensors(tmp_path: Path) -> None:
    source = nn.Linear(2, 2)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    LastCheckpoint(tmp_path / "last.pt", {"network": source}).save(Engine(lambda *_: None))
    write_safetensors(str(tmp_path / "last.pt"), str(tmp_path / "model.safetensors"))
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt", "last.pt", "model.safetensors"}
    for name in ("model.pt", "last.pt", "model.safetensors"):
        loaded = load_weights(nn.Linear(2, 2), tmp_path / name)
        assert torch.equal(loaded.weight, source.weight)
    assert load_weights(source, None) is source


def test_safetensors_are_called_so_and_hold_finite_weights(tmp_path: Path, refused: Callable) -> None:
    torch.save({"weight": torch.tensor([1.0, torch.nan])}, tmp_path / "model.pt")
    with refused("model.pt2", ".safetensors"):
        write_safetensors(str(tmp_path / "model.pt"), str(tmp_path / "model.pt2"))
    with refused(tmp_path / "model.pt", "NaN"):
        write_safetensors(str(tmp_path / "model.pt"), str(tmp_path / "model.safetensors"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_shipped_files_hold_the_same_weights_and_are_those_of_the_list() -> None:
    listed = dict(reversed(line.split("  ")) for line in (MODELS / "SHA256SUMS").read_text().splitlines())
    files = {path.name for path in MODELS.iterdir() if path.suffix in {".pt", ".safetensors"}}
    assert listed == {name: file_sha256(MODELS / name) for name in files}
    first, second = (read_weights(MODELS / f"model.{kind}") for kind in ("pt", "safetensors"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_misfit_names_what_is_missing_unknown_and_reshaped(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.ones(3, 2), "gate": torch.ones(1)}, path)
    network = nn.Linear(2, 2)
    before = network.weight.clone()
    with pytest.raises(InputError) as caught:
        load_weights(network, path)
    message = str(caught.value)
    assert str(path) in message
    assert "missing 1 (bias)" in message
    assert "unknown 1 (gate)" in message
    assert "weight is (3, 2), not (2, 2)" in message
    assert torch.equal(network.weight, before)


def truncated(path: Path) -> None:
    torch.save(nn.Linear(50, 50).state_dict(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_old_format(path: Path) -> None:
    torch.save(nn.Linear(50, 50).state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def image(path: Path) -> None:
    path.write_bytes(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)).to_bytes())


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "zero bytes": lambda path: path.touch(),
    "folder": lambda path: path.mkdir(),
    "text": lambda path: path.write_text("not weights\n"),
    "numbers in text": lambda path: path.write_text("0.25 0.75\n"),
    "lfs pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    "image": image,
    "truncated": truncated,
    "truncated, old format": truncated_old_format,
    "whole module": lambda path: torch.save(nn.Linear(2, 2), path),
    "list": lambda path: torch.save([torch.ones(2)], path),
    "tensor": lambda path: torch.save(torch.ones(2), path),
}
# What torch's safe unpickler raises for these is none of the types that load_weights expects.
STRANGE: dict[str, Callable[[Path], object]] = {
    "text that starts like a pickle": lambda path: path.write_text("hello\n"),
    "numbers for tensors": lambda path: torch.save({"weight": 1.0, "bias": 2.0}, path),
    "network is no dict": lambda path: torch.save({"network": 3}, path),
    "keys of two types": lambda path: torch.save({1: 2, "a": 3}, path),
}


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_weights_are_refused_in_one_line(tmp_path: Path, refused: Callable, kind: str, name: str) -> None:
    UNREADABLE[kind](tmp_path / name)
    with refused(tmp_path / name):
        load_weights(nn.Linear(2, 2), tmp_path / name)


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_weights_are_refused_in_one_line(tmp_path: Path, refused: Callable, kind: str) -> None:
    STRANGE[kind](tmp_path / "model.pt")
    with refused(tmp_path / "model.pt"):
        load_weights(nn.Linear(2, 2), tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_weights_are_not_run(tmp_path: Path, refused: Callable, zipped: bool, name: str) -> None:
    path, marker = tmp_path / name, tmp_path / "marker"
    torch.save({"weight": Malicious(marker)}, path, _use_new_zipfile_serialization=zipped)
    with refused(path, "read safely"):
        load_weights(nn.Linear(2, 2), path)
    assert not marker.exists()
    # The file does what it should not where nobody takes care: the test tests something.
    torch.load(path.open("rb"), weights_only=False)
    assert marker.exists()
