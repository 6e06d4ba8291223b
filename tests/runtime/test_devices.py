# SPDX-License-Identifier: Apache-2.0
"""A device that is not there is refused in one line, before anything is computed or written."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scripts.__main__ import main
from scripts.api import load_network
from scripts.runtime.devices import usable_device


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:-1", "CPU", "", "GPU:0", None, ("cpu", "cuda")])
def test_what_is_no_device_is_refused(refused: Callable, device: object) -> None:
    with refused(f"--device {device}: no device of torch; give cpu, cuda, or cuda:1 and so on"):
        usable_device(device)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda", 3)])
def test_without_a_gpu_the_cpu_is_advised(refused: Callable, device: object) -> None:
    with refused(f"--device {device}: torch finds no GPU; give --device cpu"):
        usable_device(device)


def test_a_gpu_too_many_is_refused(refused: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with refused("--device cuda:2: torch finds 2 GPUs, of which the last is cuda:1"):
        usable_device("cuda:2")


@pytest.mark.parametrize("device", ["meta", "xpu", "hpu"])
def test_what_computes_nothing_is_refused(refused: Callable, device: str) -> None:
    with refused(f"--device {device}: torch cannot compute on it here; give --device cpu"):
        usable_device(device)


def test_cpu_is_taken() -> None:
    assert usable_device("cpu") == usable_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("configs", [("inference",), ("train",), ("train", "evaluate")], ids=" ".join)
def test_every_workflow_refuses_it_before_it_writes(
    run_bundle: Callable,
    refused: Callable,
    dataset: Path,
    fresh_weights: Path,
    tmp_path: Path,
    configs: tuple[str, ...],
) -> None:
    places = {"dataset_dir": dataset, "output_dir": tmp_path / "out"}
    with refused("--device cuda:1: torch finds no GPU; give --device cpu"):
        run_bundle(*configs, **places, weights=fresh_weights, device="cuda:1")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_gpu")
def test_commands_and_functions_refuse_it(
    refused: Callable, capsys: pytest.CaptureFixture, tmp_path: Path, unchanged_process: Callable
) -> None:
    with unchanged_process():
        given = ["--fixed", "F.nii", "--moving", "M.nii", "--output_dir", str(tmp_path / "out"), "--device", "gpu"]
        with pytest.raises(SystemExit) as ended:
            main(["register", *given])
        assert ended.value.code == 3
        assert capsys.readouterr().err.splitlines()[-1].startswith("error: --device gpu: no device of torch")
        with pytest.raises(SystemExit) as ended:
            main(["benchmark", "training", "--device", "cuda", "--output_dir", str(tmp_path / "out")])
        assert ended.value.code == 3
    with refused("--device cuda"):
        load_network(device="cuda")
    assert not (tmp_path / "out").exists()
