"""One command trains: what it leaves, that it learns, and that a seed determines every bit."""

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]
SIZES = {"max_epochs": 4, "pairs_per_epoch": 2, "val_interval": 1}

# Runs the training, and dies without a chance to tidy up half-way through writing the last.pt of the third epoch.
DYING = """
import io, os, signal, sys
import torch
from monai.bundle import ConfigWorkflow

torch.set_num_threads(2)
save, written = torch.save, []

def save_or_die(content, path):
    if "last.pt" in str(path):
        written.append(path)
        if len(written) == 3:
            buffer = io.BytesIO()
            save(content, buffer)
            with open(path, "wb") as file:
                file.write(buffer.getvalue()[: buffer.tell() // 2])
            os.kill(os.getpid(), signal.SIGKILL)
    save(content, path)

torch.save = save_or_die
dataset_dir, output_dir = sys.argv[1:]
workflow = ConfigWorkflow(
    "configs/train.json", logging_file=False, device="$torch.device('cpu')", dataset_dir=dataset_dir,
    output_dir=output_dir, max_epochs=4, pairs_per_epoch=2, val_interval=1, bf16=False,
    **{"network_def#channels": [8, 8, 8], "network_def#symmetric": False},
)
workflow.initialize()
workflow.run()
"""


def read_history(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def read_checkpoint(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def differences(first: Any, second: Any, where: str = "") -> list[str]:
    """Places where two nested states differ by as much as a bit; clocks are left out."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [where]
    if isinstance(first, dict):
        if first.keys() != second.keys():
            return [f"{where}: {first.keys() ^ second.keys()}"]
        keys = [key for key in first if key != "seconds"]
        return [found for key in keys for found in differences(first[key], second[key], f"{where}/{key}")]
    if isinstance(first, list | tuple):
        if len(first) != len(second):
            return [f"{where}: {len(first)} and {len(second)} entries"]
        pairs = enumerate(zip(first, second, strict=True))
        return [found for i, pair in pairs for found in differences(*pair, f"{where}/{i}")]
    return [] if first == second else [f"{where}: {first} and {second}"]


@pytest.fixture(scope="module")
def straight(run_bundle: Callable, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What four epochs in one go leave."""
    folder = tmp_path_factory.mktemp("training") / "new" / "straight"
    run_bundle("train", dataset_dir=dataset, output_dir=folder, **SIZES)
    return folder


@pytest.fixture(scope="module")
def killed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left where the same training was killed while it wrote the checkpoint of its third epoch."""
    folder = tmp_path_factory.mktemp("training") / "killed"
    line = [sys.executable, "-c", DYING, dataset, folder]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    dead = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert dead.returncode == -9, dead.stderr
    return folder


# --- what it leaves -------------------------------------------------------------------------------------------------


def test_one_command_leaves_checkpoints_history_and_curve(straight: Path) -> None:
    events = list(straight.glob("events.out.tfevents.*"))
    assert events
    assert {path.name for path in straight.iterdir()} - {path.name for path in events} == {
        "last.pt",
        "model.pt",
        "history.csv",
        "loss_curve.png",
    }
    assert (straight / "loss_curve.png").read_bytes().startswith(b"\x89PNG")


def test_history_has_a_row_for_every_epoch(straight: Path) -> None:
    rows = read_history(straight)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert set(rows[0]) == {"epoch", "loss", "learning_rate", "seconds", "dice", "ndv_percent"}
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())


def test_history_has_the_learning_rate_that_the_epoch_was_trained_with(straight: Path) -> None:
    rates = [float(row["learning_rate"]) for row in read_history(straight)]
    assert rates == pytest.approx([0.0004 * (1 - epoch / 4) ** 0.9 for epoch in range(4)])


def test_tensorboard_shows_loss_and_validation(straight: Path) -> None:
    scalars: dict[str, int] = {}
    for file in straight.glob("events.out.tfevents.*"):
        accumulator = EventAccumulator(str(file)).Reload()
        scalars.update({tag: len(accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"]})
    assert scalars["train_loss"] == 8  # steps
    assert scalars["dice"] == scalars["ndv_percent"] == 4  # validations


def test_best_model_is_that_of_the_best_epoch(straight: Path) -> None:
    best = max(float(row["dice"]) for row in read_history(straight))
    checkpoint = read_checkpoint(straight / "last.pt")
    assert checkpoint["best_model"]["best"] == best
    assert read_checkpoint(straight / "model.pt").keys() == checkpoint["network"].keys()


@pytest.mark.slow
def test_loss_goes_down(run_bundle: Callable, dataset: Path, tmp_path: Path) -> None:
    sizes = {"max_epochs": 3, "pairs_per_epoch": 6, "val_interval": 3, "learning_rate": 0.002}
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, **sizes)
    first, *_, last = [float(row["loss"]) for row in read_history(tmp_path)]
    assert last < first - 0.02


def test_short_training_leaves_a_model_to_evaluate(run_bundle: Callable, dataset: Path, tmp_path: Path) -> None:
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, max_epochs=1, pairs_per_epoch=1)
    assert (tmp_path / "model.pt").exists()


# --- every bit ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_same_seed_gives_the_same_bits(run_bundle: Callable, straight: Path, dataset: Path, tmp_path: Path) -> None:
    torch.manual_seed(torch.seed())  # what was there before must not matter
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, **SIZES)
    assert differences(read_checkpoint(straight / "last.pt"), read_checkpoint(tmp_path / "last.pt")) == []
    assert differences(read_checkpoint(straight / "model.pt"), read_checkpoint(tmp_path / "model.pt")) == []


def test_other_seed_gives_other_weights(run_bundle: Callable, straight: Path, dataset: Path, tmp_path: Path) -> None:
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, seed=1, **{**SIZES, "max_epochs": 1})
    first, second = (read_checkpoint(folder / "last.pt")["network"] for folder in (straight, tmp_path))
    assert differences(first, second)


@pytest.mark.slow
def test_kill_in_mid_write_leaves_the_checkpoint_of_the_epoch_before(killed: Path) -> None:
    checkpoint = read_checkpoint(killed / "last.pt")
    assert checkpoint["epoch"] == 2
    assert len(read_history(killed)) == 3  # the third epoch was noted, and will come again


@pytest.mark.slow
def test_resumed_training_equals_one_that_was_never_stopped(
    run_bundle: Callable, straight: Path, killed: Path, dataset: Path
) -> None:
    run_bundle("train", dataset_dir=dataset, output_dir=killed, resume=True, **SIZES)
    whole, resumed = (read_checkpoint(folder / "last.pt") for folder in (straight, killed))
    assert {"network", "optimizer", "lr_scheduler", "epoch", "random_state", "best_model"} <= whole.keys()
    assert differences(whole, resumed) == []
    assert differences(read_checkpoint(straight / "model.pt"), read_checkpoint(killed / "model.pt")) == []
    assert differences(read_history(straight), read_history(killed)) == []
    assert not list(killed.glob(".*")), "the half checkpoint of the killed process is still there"


# --- not by accident ------------------------------------------------------------------------------------------------


def test_earlier_training_is_not_overwritten(
    run_bundle: Callable, refused: Callable, straight: Path, dataset: Path
) -> None:
    before = {path: path.read_bytes() for path in straight.iterdir()}
    with refused(straight / "last.pt", "an earlier training is here", "--resume"):
        run_bundle("train", dataset_dir=dataset, output_dir=straight, **SIZES)
    assert {path: path.read_bytes() for path in straight.iterdir()} == before


def test_resume_without_a_checkpoint_is_refused(
    run_bundle: Callable, refused: Callable, dataset: Path, tmp_path: Path
) -> None:
    with refused(tmp_path / "new" / "last.pt", "no such checkpoint to resume from"):
        run_bundle("train", dataset_dir=dataset, output_dir=tmp_path / "new", resume=True, **SIZES)
    assert not (tmp_path / "new").exists()


def test_resume_false_is_no_resume(run_bundle: Callable, dataset: Path, tmp_path: Path) -> None:
    sizes = {"max_epochs": 1, "pairs_per_epoch": 1, "val_interval": 1}
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path / "out", resume="false", **sizes)
    assert (tmp_path / "out" / "model.pt").exists()


def test_resume_of_a_finished_training_says_so(
    run_bundle: Callable, refused: Callable, straight: Path, dataset: Path
) -> None:
    with refused(straight / "last.pt", "all 4 epochs are done", "--max_epochs"):
        run_bundle("train", dataset_dir=dataset, output_dir=straight, resume=True, **SIZES)


def test_resume_with_another_network_names_what_differs(
    run_bundle: Callable, refused: Callable, straight: Path, dataset: Path
) -> None:
    sizes = {**SIZES, "max_epochs": 5}
    with refused(straight / "last.pt", "does not fit the network", "other shape", "encoder"):
        overrides = {"network_def#channels": [8, 8, 16]}
        run_bundle("train", dataset_dir=dataset, output_dir=straight, resume=True, overrides=overrides, **sizes)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_resume_from_a_broken_checkpoint_says_so(
    run_bundle: Callable, refused: Callable, dataset: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with refused(tmp_path / "last.pt", "read safely"):
        run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, resume=True, **SIZES)
    assert (tmp_path / "last.pt").read_bytes() == content


def test_resume_from_mere_weights_says_what_they_lack(
    run_bundle: Callable, refused: Callable, straight: Path, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "last.pt").write_bytes((straight / "model.pt").read_bytes())
    with refused(tmp_path / "last.pt", "not a training checkpoint", "optimizer"):
        run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, resume=True, **SIZES)


def test_dataset_without_scans_is_refused(run_bundle: Callable, refused: Callable, tmp_path: Path) -> None:
    with refused(tmp_path / "nowhere", "no such dataset folder"):
        run_bundle("train", dataset_dir=tmp_path / "nowhere", output_dir=tmp_path / "out", **SIZES)


# --- without labels -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lumir(odd_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data as LUMIR's download has them: images only, validation pairs under `validation`."""
    data = tmp_path_factory.mktemp("data") / "LUMIR"
    for section, source in (("imagesTr", slice(0, 2)), ("imagesVal", slice(2, 4))):
        (data / section).mkdir(parents=True)
        for image in sorted((odd_dataset / "imagesTr").iterdir())[source]:
            (data / section / image.name).symlink_to(image)
    images = {folder: sorted(path.name for path in (data / folder).iterdir()) for folder in ("imagesTr", "imagesVal")}
    fixed, moving = (f"./imagesVal/{name}" for name in images["imagesVal"])
    content = {
        "name": "LUMIR",
        "tensorImageSize": "3D",
        "modality": {"0": "MR"},
        "numTraining": 2,
        "training": [{"image": f"./imagesTr/{name}"} for name in images["imagesTr"]],
        "validation": [{"fixed": fixed, "moving": moving}],
    }
    (data / "LUMIR_dataset.json").write_text(json.dumps(content))
    return data


def test_lumir_like_data_train_and_evaluate_without_labels(
    run_bundle: Callable, lumir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run_bundle("train", dataset_dir=lumir, output_dir=tmp_path, max_epochs=2, pairs_per_epoch=1, val_interval=1)
    rows = read_history(tmp_path)
    assert [row["dice"] for row in rows] == ["nan", "nan"]
    assert all(float(row["ndv_percent"]) == 0.0 for row in rows)
    # Nothing says which epoch is the best, so it is the last.
    last = read_checkpoint(tmp_path / "last.pt")["network"]
    assert differences(last, read_checkpoint(tmp_path / "model.pt")) == []

    capsys.readouterr()
    run_bundle("train", "evaluate", dataset_dir=lumir, output_dir=tmp_path)
    table = json.loads((tmp_path / "metrics.json").read_text())
    assert table["pairs"][0]["dice"] is None
    assert table["summary"]["ndv_percent"]["mean"] == 0.0
    printed = capsys.readouterr().out
    assert "ndv_percent" in printed
    assert "nan" not in printed


def test_lumir_overlay_keeps_the_model_whose_images_agree_best(
    run_bundle: Callable, lumir: Path, tmp_path: Path
) -> None:
    sizes = {"max_epochs": 2, "pairs_per_epoch": 1, "val_interval": 1}
    run_bundle("train", "datasets/lumir.yaml", dataset_dir=lumir, output_dir=tmp_path, **sizes)
    values = [float(row["lncc"]) for row in read_history(tmp_path)]
    assert all(0 < value < 1 for value in values)
    assert read_checkpoint(tmp_path / "last.pt")["best_model"]["best"] == max(values)


@pytest.mark.parametrize("overlay", ["boxes", "short"])
def test_training_starts_from_given_weights(
    run_bundle: Callable, dataset: Path, straight: Path, tmp_path: Path, overlay: str
) -> None:
    given = straight / "model.pt"
    sizes = {**SIZES, "max_epochs": 1, "learning_rate": 0, "overrides": {"weights": str(given)}}
    if overlay == "boxes":
        sizes["box"] = [16, 16, 16]
    run_bundle("train", f"training/{overlay}.yaml", dataset_dir=dataset, output_dir=tmp_path, **sizes)
    assert differences(read_checkpoint(given), read_checkpoint(tmp_path / "model.pt")) == []
