# SPDX-License-Identifier: Apache-2.0
"""What a user reads who types a command that cannot work: one line, exit code 3, nothing half written."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scripts.networks import MSFBNet

ROOT = Path(__file__).parents[2]


class Malicious:
    """An object whose unpickling runs a command: it leaves a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


def assert_refused(result: object, *words: object) -> None:
    assert result.returncode == 3, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert [word for word in words if str(word) not in last] == [], last
    assert "Traceback" not in result.stderr + result.stdout


def inference_line(images: dict[str, Path], **options: Path) -> list:
    words = {"config_file": "configs/inference.json", **images, **options}
    return ["run", *(word for name, value in words.items() for word in (f"--{name}", value))]


@pytest.mark.slow
def test_command_names_the_missing_file_and_exits_with_3(
    command: Callable, images: dict[str, Path], tmp_path: Path
) -> None:
    torch.save(MSFBNet().state_dict(), tmp_path / "model.pt")
    images["moving"].unlink()
    result = command(*inference_line(images, weights=tmp_path / "model.pt", output_dir=tmp_path / "out"))
    assert_refused(result, images["moving"], "no such file")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_command_does_not_run_malicious_weights(command: Callable, images: dict[str, Path], tmp_path: Path) -> None:
    torch.save({"weight": Malicious(tmp_path / "marker")}, tmp_path / "model.pt")
    result = command(*inference_line(images, weights=tmp_path / "model.pt", output_dir=tmp_path / "out"))
    assert_refused(result, tmp_path / "model.pt", "read safely")
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_command_does_not_overwrite_an_earlier_training(command: Callable, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"precious")
    line = ["run", "training", "--config_file", "configs/train.json", "--dataset_dir", dataset]
    assert_refused(command(*line, "--output_dir", tmp_path), tmp_path / "last.pt", "an earlier training")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"last.pt": b"precious"}


@pytest.mark.slow
def test_full_disk_leaves_nothing_half_written(images: dict[str, Path], fresh_weights: Path, tmp_path: Path) -> None:
    """The process may write no file beyond the limit, and report.html is larger."""
    line = inference_line(
        images, weights=fresh_weights, output_dir=tmp_path / "out", init="none", network_size="[1,1,1]"
    )
    line += ["--network_def#channels", "[8,8,8]"]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", *map(str, line)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert_refused(done, "cannot be written")
    assert list((tmp_path / "out").rglob("*")) == []
