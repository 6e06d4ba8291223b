"""The commands of the README, letter by letter: train, evaluate, register."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SIZES = ["--max_epochs", "1", "--pairs_per_epoch", "1", "--val_interval", "1"]
BOTH = "['configs/train.json','configs/evaluate.json']"


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
    assert {path.name for path in target.iterdir()} == {
        *("moved.nii.gz", "warp.nii.gz", "inverse_warp.nii.gz", "affine.mat", "metrics.json", "report.html")
    }
    assert str(target / "report.html") in registered.stdout
    assert (json.loads((target / "metrics.json").read_text())["verdict"] == "fail") == (registered.returncode == 5)
