# SPDX-License-Identifier: Apache-2.0
"""Weights in files: read without unpickling, refused in one line if they do not fit."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from scripts.io.files import file_sha256
from scripts.io.weights import load_weights, read_weights, write_safetensors
from scripts.runtime.errors import InputError

MODELS = Path(__file__).parents[2] / "models"


class Malicious:
    """An object whose unpickling runs a command: it leaves a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


def test_weights_come_from_state_dict_checkpoint_or_safetensors(tmp_path: Path) -> None:
    source = nn.Linear(2, 2)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    torch.save({"network": source.state_dict(), "epoch": 3}, tmp_path / "last.pt")
    write_safetensors(str(tmp_path / "last.pt"), str(tmp_path / "model.safetensors"))
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt", "last.pt", "model.safetensors"}
    for name in ("model.pt", "last.pt", "model.safetensors"):
        loaded = load_weights(nn.Linear(2, 2), tmp_path / name)
        assert torch.equal(loaded.weight, source.weight)
    assert load_weights(source, None) is source


def test_safetensors_need_their_suffix_and_finite_weights(tmp_path: Path, refused: Callable) -> None:
    torch.save({"weight": torch.tensor([1.0, torch.nan])}, tmp_path / "model.pt")
    with refused("model.pt2", ".safetensors"):
        write_safetensors(str(tmp_path / "model.pt"), str(tmp_path / "model.pt2"))
    with refused(tmp_path / "model.pt", "NaN"):
        write_safetensors(str(tmp_path / "model.pt"), str(tmp_path / "model.safetensors"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_shipped_files_are_equal_and_listed_with_their_sums() -> None:
    listed = dict(reversed(line.split("  ")) for line in (MODELS / "SHA256SUMS").read_text().splitlines())
    files = {path.name for path in MODELS.iterdir() if path.suffix in {".pt", ".safetensors"}}
    assert listed == {name: file_sha256(MODELS / name) for name in files}
    first, second = (read_weights(MODELS / f"model.{kind}") for kind in ("pt", "safetensors"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_other_networks_weights_are_refused_with_differences(tmp_path: Path) -> None:
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
# For these torch's safe unpickler raises errors of unusual types, or load_weights finds no tensors.
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
    # Read without care, the file does run the command.
    torch.load(path.open("rb"), weights_only=False)
    assert marker.exists()
