# SPDX-License-Identifier: Apache-2.0
"""The overlays for several processes, in a group of one, and what each process is given."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ignite.distributed import sync
from monai.bundle import ConfigWorkflow

from scripts.runtime.errors import report_error
from scripts.runtime.processes import own_device


@pytest.fixture
def group_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun tells its only process."""
    for name, value in {
        "RANK": 0,
        "LOCAL_RANK": 0,
        "WORLD_SIZE": 1,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": 0,
    }.items():
        monkeypatch.setenv(name, str(value))
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
    sync()


@pytest.mark.parametrize(
    ("configs", "workflow_type"),
    [
        (["train", "multi_gpu_train"], "train"),
        (["train", "training/boxes.yaml", "multi_gpu_train"], "train"),
        (["train", "evaluate", "multi_gpu_evaluate"], "train"),
        (["inference", "multi_gpu_inference"], "infer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_no_property_is_missing_or_misnamed(
    bundle: Callable,
    unchanged_process: Callable,
    group_of_one: None,
    dataset: Path,
    random_weights: Path,
    tmp_path: Path,
    configs: list[str],
    workflow_type: str,
) -> None:
    given = {"weights": random_weights, "dataset_dir": dataset, "output_dir": tmp_path}
    workflow: ConfigWorkflow = bundle(*configs, workflow_type=workflow_type, **given)
    with unchanged_process():
        workflow.initialize()
        assert workflow.check_properties() == []
        assert dist.is_initialized()
        workflow.finalize()
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("configs", "handlers", "silent"),
    [
        (["train", "multi_gpu_train"], "train#handlers", {"History", "TensorBoardStatsHandler", "Progress"}),
        (["train", "multi_gpu_train"], "validate#handlers", {"TensorBoardStatsHandler"}),
        (["train", "evaluate", "multi_gpu_evaluate"], "validate#handlers", {"Progress"}),
        (["inference", "multi_gpu_inference"], "handlers", {"Progress"}),
    ],
)
def test_only_the_first_process_has_what_only_speaks(
    bundle: Callable,
    monkeypatch: pytest.MonkeyPatch,
    dataset: Path,
    tmp_path: Path,
    configs: list[str],
    handlers: str,
    silent: set[str],
) -> None:
    names = []
    for rank in (0, 1):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)
        parser = bundle(*configs, dataset_dir=dataset, output_dir=tmp_path).parser
        names.append({type(handler).__name__ for handler in parser.get_parsed_content(handlers)})
    assert names[0] - names[1] == silent


def test_without_torchrun_the_overlay_says_so(
    run_bundle: Callable, refused: Callable, dataset: Path, tmp_path: Path
) -> None:
    with refused("torchrun", "docs/multi_gpu.md"):
        run_bundle("train", "multi_gpu_train", dataset_dir=dataset, output_dir=tmp_path)


def test_the_end_of_another_process_is_told_in_one_line(capsys: pytest.CaptureFixture) -> None:
    error = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:53978")
    with pytest.raises(SystemExit) as ended:
        report_error(RuntimeError, error, None)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: another process has ended")


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, refused: Callable) -> None:
    assert torch.cuda.is_available() or own_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device() == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with refused("more processes than GPUs", "--nproc_per_node=2"):
        own_device()
