"""The benchmark of training steps: what it measures, in both of two versions, and what it leaves when it fails."""

import csv
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from torch.nn.functional import conv3d

import scripts.__main__ as command_line
from scripts.evaluation import benchmark
from scripts.evaluation.benchmark import checkout
from scripts.evaluation.benchmark_table import Device, table_rows
from scripts.evaluation.benchmark_worker import (
    PARTS,
    Training,
    count_calls,
    count_flop,
    make_training,
    measure,
    measure_step,
    random_pair,
)
from scripts.io.configs import read_configs

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
SIZE = [32, 32, 32]
SMALL = {"network_def#channels": [8, 8, 8]}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> ConfigParser:
    monkeypatch.chdir(ROOT)
    config = read_configs("configs/train.json")
    config.update(SMALL)
    return config


@pytest.fixture
def training(config: ConfigParser) -> Training:
    return make_training(config, CPU, SIZE, spacing=1, label_dir=None)


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


# --- what is measured -------------------------------------------------------------------------------------------------


def test_the_parts_of_a_step_are_the_step(training: Training) -> None:
    measure_step(training, CPU)
    times = measure_step(training, CPU)
    assert set(times) == {f"{part}_{kind}" for part in (*PARTS, "step") for kind in ("seconds", "cpu_seconds")}
    for kind in ("seconds", "cpu_seconds"):
        parts = sum(times[f"{part}_{kind}"] for part in PARTS)
        assert 0.9 * times[f"step_{kind}"] < parts <= times[f"step_{kind}"]


def test_time_counts_where_it_is_spent(training: Training) -> None:
    def slow_loss(fields: list[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        time.sleep(0.3)
        return training.loss(fields, target)

    times = measure_step(training._replace(loss=slow_loss), CPU)
    assert times["loss_seconds"] > 0.3 > times["loss_cpu_seconds"]
    assert times["step_seconds"] > times["forward_seconds"] + 0.3


def test_steps_train(training: Training) -> None:
    before = [weights.clone() for weights in training.network.parameters()]
    figures = measure(training, CPU, steps=1)
    assert any((now != then).any() for now, then in zip(training.network.parameters(), before, strict=True))
    assert figures["peak_memory_mb"] > 100
    assert figures["operator_calls"] > 1000
    assert "peak_gpu_memory_mb" not in figures


def test_operators_are_counted_with_those_that_they_call() -> None:
    x = torch.ones(4)
    assert count_calls(lambda: x.sin().cos(), CPU) == {"operator_calls": 2}
    assert count_calls(lambda: torch.zeros(4), CPU) == {"operator_calls": 3}  # zeros, and in it empty and zero_


def test_arithmetic_is_that_of_products_and_convolutions() -> None:
    a, b = torch.ones(3, 4, requires_grad=True), torch.ones(4, 5, requires_grad=True)
    forward = 2 * 3 * 4 * 5
    assert count_flop(lambda: a @ b) == forward
    assert count_flop(lambda: (a @ b).sum().backward()) == 3 * forward  # a gradient for each factor
    image, weight = torch.ones(1, 2, 6, 6, 6), torch.ones(5, 2, 3, 3, 3)
    assert count_flop(lambda: conv3d(image, weight)) == 2 * (5 * 4**3) * (2 * 3**3)


def test_random_pairs_look_like_stripped_brains() -> None:
    pair = random_pair([48, 64, 48])
    assert pair.shape == (1, 2, 48, 64, 48)
    assert pair.min() == 0 and 0.9 < pair.max() <= 1
    assert 0.2 < (pair > 0).float().mean() < 0.6
    assert (pair[..., 0] == 0).all()
    inside = pair[0, :, 20:28, 28:36, 20:28]
    assert (inside.diff(dim=1).abs() < 0.2).all() and inside.std() > 0.01
    assert (pair[:, 0] != pair[:, 1]).any()


def test_pairs_from_label_maps_are_drawn_anew(config: ConfigParser, label_dir: Path) -> None:
    training = make_training(config, CPU, SIZE, spacing=1, label_dir=str(label_dir))
    images, target = training.draw()
    assert images.shape == (1, 2, *SIZE) and target.shape == (1, 4, *SIZE)
    assert (training.draw()[0] != images).any()
    assert measure_step(training, CPU)["data_cpu_seconds"] > 1e-3


# --- the table --------------------------------------------------------------------------------------------------------


def test_ratios_are_of_rounds_and_medians_over_them() -> None:
    runs = {
        name: [{"step_seconds": seconds, "gflop": 10.0} for seconds in rounds]
        for name, rounds in {"ours": (1.0, 2.0, 9.0), "theirs": (2.0, 2.0, 3.0)}.items()
    }
    device = Device("CPU", 1, "float32", gflop_per_second=20, copied_gb_per_second=1)
    rows = {row["figure"]: row for row in table_rows("2mm", (4, 5, 6), runs, device)}
    place = {"size": "2mm", "voxels": "4×5×6", "figure": "step_seconds"}
    ratios = {"ratio": 1, "ratio_min": 0.5, "ratio_max": 3}
    assert rows["step_seconds"] == {**place, "ours": 2, "theirs": 2, **ratios}
    assert rows["least_seconds"]["ours"] == 0.5
    assert rows["matrix_rate_percent"]["ours"] == 25  # of rounds 50, 25 and 6 %
    assert "ours" not in rows["data_seconds"]


@pytest.mark.slow
def test_each_version_is_measured_as_its_own_files_say(
    history: Callable, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """The commit has a small network, the current folder one that is wider."""
    monkeypatch.setattr(benchmark, "SIZES", {"2mm": (tuple(SIZE), 2)})
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


def test_a_failing_measurement_leaves_nothing_and_ends_as_the_worker_does(
    history: Callable, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    Path("configs/train.json").rename("configs/other.json")
    history("without the config")
    Path("configs/other.json").rename("configs/train.json")
    monkeypatch.setattr(benchmark, "_run_worker", failing_in_a_checkout(benchmark._run_worker))
    assert run("--output_dir", "out", "--steps", 1, "--against", "HEAD") == 3
    assert "train.json: no such file" in capfd.readouterr().err
    assert not Path("out").exists()
    assert len(git("worktree", "list").splitlines()) == 1


def failing_in_a_checkout(worker: Callable) -> Callable:
    """The worker, but only in another folder than the current one."""

    def run_worker(folder: Path, words: list[str]) -> dict[str, float]:
        return {"step_seconds": 1, "step_cpu_seconds": 1} if folder == Path.cwd() else worker(folder, words)

    return run_worker


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
        (["--threads", 0], "--threads 0: want a number from 1"),
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
