# SPDX-License-Identifier: Apache-2.0
"""The command that measures training steps: both of two versions, and what it leaves when it fails."""

import csv
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import scripts.__main__ as command_line
from scripts.evaluation import benchmark
from scripts.evaluation.benchmark import checkout

ROOT = Path(__file__).parents[2]


@pytest.fixture
def history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchanged_process: Callable
) -> Iterator[Callable[[str], None]]:
    """A folder with a git history of its own, the current one; the function commits what is there, with a message."""
    for folder in ("scripts", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")

    def commit(message: str) -> None:
        git("add", "scripts", "configs")
        git("-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "--message", message)

    with unchanged_process():
        yield commit


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout


def run(*words: object) -> int:
    try:
        return command_line.main(["benchmark", "training", "--device", "cpu", *map(str, words)])
    except SystemExit as error:
        return error.code


def refused(words: list[object], message: str, capsys: pytest.CaptureFixture) -> None:
    """The command ends with one clear line and leaves nothing."""
    assert run("--output_dir", "out", *words) == 3
    printed = capsys.readouterr().err
    assert message in printed and printed.startswith("error: ") and printed.count("\n") == 1
    assert not Path("out").exists()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, matrices and copies that take little time."""
    monkeypatch.setattr(benchmark, "SIZES", {"2mm": ((32, 32, 32), 2)})
    monkeypatch.setattr(benchmark, "MATRIX_WIDTH", {"cpu": 256})
    monkeypatch.setattr(benchmark, "COPIED_BYTES", {"cpu": 2**20})


@pytest.mark.slow
def test_each_version_is_measured_as_its_own_files_say(
    history: Callable, small: None, capfd: pytest.CaptureFixture
) -> None:
    """The commit has a small network, the current folder one that is wider."""
    path = Path("configs/train.json")
    settings = json.loads(path.read_text())
    settings["network_def"]["channels"] = [8, 8, 8]
    path.write_text(json.dumps(settings))
    history("small")
    settings["network_def"]["channels"] = [8, 32, 64]
    path.write_text(json.dumps(settings))

    assert run("--output_dir", "out", "--sizes", "2mm", "--steps", 1, "--rounds", 1, "--against", "HEAD") == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    text = Path("out/benchmark.md").read_text()
    assert text in printed.out
    assert "| size | figure | ours | HEAD | ours ÷ HEAD | lowest – highest |" in text
    with open("out/benchmark.csv", newline="") as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    for figure in ("forward_cpu_seconds", "step_seconds", "peak_memory_mb", "operator_calls", "gflop"):
        ours, theirs, ratio = (float(rows[figure][column]) for column in ("ours", "theirs", "ratio"))
        assert ratio == pytest.approx(ours / theirs)
    assert float(rows["gflop"]["ratio"]) > 2
    assert 0.9 < float(rows["operator_calls"]["ratio"]) < 1.1
    assert rows["gflop"]["voxels"] == "32×32×32" and rows["gflop"]["against"] == "HEAD"
    assert rows["data_seconds"]["ours"] == ""
    assert sorted(file.name for file in Path("out").iterdir()) == ["benchmark.csv", "benchmark.md"]
    assert len(git("worktree", "list").splitlines()) == 1


@pytest.mark.slow
def test_failing_measurement_leaves_nothing(history: Callable, small: None, capfd: pytest.CaptureFixture) -> None:
    """The commit lacks what the current folder has."""
    Path("configs/train.json").rename("configs/other.json")
    history("without the config")
    Path("configs/other.json").rename("configs/train.json")
    assert run("--output_dir", "out", "--sizes", "2mm", "--steps", 1, "--against", "HEAD") == 3
    assert "train.json: no such file" in capfd.readouterr().err
    assert not Path("out").exists()
    assert len(git("worktree", "list").splitlines()) == 1


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_checkout_is_there_only_meanwhile(history: Callable) -> None:
    history("first")
    Path("configs/train.json").unlink()
    folders = []

    def fail_inside() -> None:
        with checkout("HEAD") as folder:
            folders.append(folder)
            assert (folder / "configs" / "train.json").is_file()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert not folders[0].parent.exists()
    assert len(git("worktree", "list").splitlines()) == 1


@pytest.mark.parametrize("commit", ["nope", "--all", "HEAD~7"])
def test_a_commit_that_is_not_there(commit: str, history: Callable, capsys: pytest.CaptureFixture) -> None:
    history("first")
    refused([f"--against={commit}"], f"--against {commit}: git says", capsys)
    assert len(git("worktree", "list").splitlines()) == 1


def test_a_folder_without_history(history: Callable, capsys: pytest.CaptureFixture) -> None:
    shutil.rmtree(".git")
    refused(["--against", "HEAD"], "not a git repository", capsys)


def test_a_machine_without_git(
    history: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    refused(["--against", "HEAD"], "git, which is not installed", capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label_dir", "nowhere"], "nowhere: no such folder of label maps"),
        (["--sizes", "2mm,3mm"], "--sizes 3mm: choose of 2mm,boxes,full"),
        (["--steps", 0], "--steps 0: want a number from 1"),
        (["--rounds", 0], "--rounds 0: want a number from 1"),
        (["--threads", 0], "--threads 0: want a whole number from 1"),
        (["--config_file", "configs/none.json"], "configs/none.json: no such file"),
    ],
)
def test_bad_arguments(words: list, message: str, history: Callable, capsys: pytest.CaptureFixture) -> None:
    refused(words, message, capsys)


def test_a_gpu_that_is_not_there(
    history: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(["--device", "cuda"], "torch finds no GPU", capsys)
