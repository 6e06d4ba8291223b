# SPDX-License-Identifier: Apache-2.0
"""The commands of the README, letter by letter: train, evaluate, register; and `register`, in this process."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.__main__ import main

ROOT = Path(__file__).parents[2]
SIZES = ["--max_epochs", "1", "--pairs_per_epoch", "1", "--val_interval", "1"]
BOTH = "['configs/train.json','configs/evaluate.json']"
WARPS = {"warp.nii.gz", "inverse_warp.nii.gz", "affine.mat"}
RESULTS = {"moved.nii.gz", "quality.nii.gz", *WARPS, "metrics.json", "report.html"}


@pytest.mark.slow
def test_train_evaluate_and_register_with_the_default_network(
    command: Callable, odd_dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "my training"
    data = ["--dataset_dir", odd_dataset, "--output_dir", out]
    trained = command("run", "training", "--config_file", "configs/train.json", *data, *SIZES)
    assert trained.returncode == 0, trained.stderr
    assert "Traceback" not in trained.stderr
    assert "training: 100%" in trained.stderr and "loss=" in trained.stderr
    assert {"last.pt", "model.pt", "history.csv", "loss_curve.png"} <= {path.name for path in out.iterdir()}

    evaluated = command("run", "evaluating", "--config_file", BOTH, *data)
    assert evaluated.returncode == 0, evaluated.stderr
    summary = json.loads((out / "metrics.json").read_text())["summary"]
    (line,) = (line for line in evaluated.stdout.splitlines() if line.split()[:1] == ["dice"])
    assert line.split()[1] == f"{summary['dice_before']['mean']:.4g}"
    assert str(out / "metrics.csv") in evaluated.stdout

    images = sorted((odd_dataset / "imagesTr").iterdir())
    pair = ["--fixed", images[2], "--moving", images[3], "--weights", out / "model.pt"]
    target = tmp_path / "result"
    registered = command("run", "--config_file", "configs/inference.json", *pair, "--output_dir", target)
    # A network of one step may make it worse: then the verdict is "fail", and the results are there all the same.
    assert registered.returncode in (0, 5), registered.stderr
    assert "Traceback" not in registered.stderr and "registering: 100%" in registered.stderr
    assert {path.name for path in target.iterdir()} == RESULTS
    assert str(target / "report.html") in registered.stdout
    assert (json.loads((target / "metrics.json").read_text())["verdict"] == "fail") == (registered.returncode == 5)


@pytest.fixture
def register(
    tmp_path: Path, random_weights: Path, monkeypatch: pytest.MonkeyPatch, unchanged_process: Callable
) -> Callable[..., int]:
    """`register("--fixed", F, ...)`: the exit code; it runs a tiny network, in a bundle's root at `tmp_path`."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs", ignore=shutil.ignore_patterns("logging.conf"))
    path = tmp_path / "configs" / "inference.json"
    config = json.loads(path.read_text())
    config["network_def"] |= {"channels": [8, 8, 8], "symmetric": False}
    path.write_text(json.dumps(config | {"network_size": [1, 1, 1], "bf16": False, "device": "cpu", "init": "none"}))
    (tmp_path / "models").mkdir()
    shutil.copy(random_weights, tmp_path / "models" / "model.pt")
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> int:
        with unchanged_process():
            try:
                return main(["register", *map(str, words)])
            except SystemExit as error:
                return error.code

    return run


@pytest.fixture
def pair(save_scan: Callable, blob: Callable) -> tuple[Path, Path]:
    fixed, moving = (save_scan(f"{name}.nii.gz", blob((28, 33, 25), seed)) for seed, name in enumerate("FM"))
    return fixed, moving


@pytest.mark.parametrize(
    "names",
    [
        ("1003", "a b", "1e3", "None"),
        ("$x", "@home", "%data.json", "a#b"),
        ("a#b", "$import os", "@fixed", "@moving"),
        ("50%done", "%#x", "@#1", "$1 + 1"),
        ("it's #1", "'#'", 'a"\\#', "ä@ü😀"),
        ("-x", "[1,2]", "{a}", "%moving"),
    ],
)
def test_paths_reach_the_registration_as_they_were_typed(
    names: tuple[str, str, str, str], register: Callable, pair: tuple[Path, Path], random_weights: Path
) -> None:
    files = [Path(name) / path.name for name, path in zip(names, (*pair, random_weights), strict=False)]
    for path, file in zip((*pair, random_weights), files, strict=True):
        file.parent.mkdir()
        shutil.copy(path, file)
    given = zip(("fixed", "moving", "weights", "output_dir"), (*files, names[3]), strict=True)
    # A network of random weights may make it worse.
    assert register(*(f"--{name}={value}" for name, value in given)) in (0, 5)
    assert {path.name for path in Path(names[3]).iterdir()} == RESULTS
    metrics = json.loads((Path(names[3]) / "metrics.json").read_text())
    for said, path, file in zip(("fixed", "moving"), pair, files, strict=False):
        assert metrics[said]["path"] == str(file)
        assert metrics[said]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert metrics["settings"]["weights"]["path"] == str(files[2])


@pytest.mark.filterwarnings("error")  # of MONAI, that configs are code
def test_register_runs_in_this_process_and_warns_of_nothing(
    register: Callable, pair: tuple[Path, Path], capsys: pytest.CaptureFixture
) -> None:
    assert register("--fixed", pair[0], "--moving", pair[1], "--output_dir", "out") in (0, 5)
    printed = capsys.readouterr().out  # what another process prints does not come here
    assert printed.startswith("\n$ python -m monai.bundle run inference --config_file configs/inference.json --fixed /")
    assert "out/report.html" in printed


def test_the_name_of_the_template_is_no_path(
    register: Callable, pair: tuple[Path, Path], small_template: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("mni152").mkdir()
    assert register("--fixed", "mni152", "--moving", pair[1], "--output_dir", "out") in (0, 5)
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert (metrics["fixed"]["path"], metrics["fixed"]["template"]) == (str(small_template), "MNI152NLin2009aSym")
    assert register("--fixed", "./mni152", "--moving", pair[1], "--output_dir", "out") == 3
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ./mni152: a folder, not a file")


def test_bad_input_is_one_line_and_exit_3(
    register: Callable, pair: tuple[Path, Path], capsys: pytest.CaptureFixture
) -> None:
    assert register("--fixed", pair[0], "--moving", "a#b/missing.nii.gz") == 3
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: a#b/missing.nii.gz: no such file")
    assert register("--fixed", pair[0], "--moving", pair[1], "--threads", 0) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "error: --threads 0: want a whole number from 1"
