"""The long training, on real and virtual scans: stages in steps, stops at any moment, labels beside any overlay."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scripts.datasets.pairs import PairDataset
from scripts.synthesis.label_maps import LabelMapPairs

ROOT = Path(__file__).parents[2]
# Three epochs of five steps; both changes are inside an epoch.
STAGES = [
    {"steps": 3, "spacing": 2, "size": None},
    {"steps": 4, "spacing": 1, "size": [16, 32, 16]},
    {"steps": 8, "spacing": 1, "size": None},
]
SIZES = {"pairs_per_epoch": 5, "val_interval": 3, "stages": STAGES}
SHAPES = [(16, 16, 16)] * 3 + [(16, 32, 16)] * 4 + [(32, 32, 32)] * 8
OVERLAYS = {
    "real": ["training/curriculum.yaml"],
    "virtual": ["training/synthetic.yaml", "training/curriculum.yaml"],
    "real with labels": ["training/curriculum.yaml", "training/labels.yaml"],
}

# Trains as the tests below do, and is killed when it asks for one more pair than it may.
DYING = """
import os, signal, sys
import torch
from monai.bundle import ConfigWorkflow
from scripts.datasets import PairDataset

torch.set_num_threads(2)
stages, pairs, dataset_dir, output_dir = eval(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
made, pair = [], PairDataset.__getitem__

def pair_or_die(self, index):
    if "fixed" not in self.data[0]:
        made.append(index)
        if len(made) > pairs:
            os.kill(os.getpid(), signal.SIGKILL)
    return pair(self, index)

PairDataset.__getitem__ = pair_or_die
workflow = ConfigWorkflow(
    ["configs/train.json", "configs/training/curriculum.yaml"], logging_file=False, device="$torch.device('cpu')",
    dataset_dir=dataset_dir, output_dir=output_dir, pairs_per_epoch=5, val_interval=3, stages=stages,
    **{"network_def#channels": [8, 8, 8]},
)
workflow.initialize()
workflow.run()
"""


@pytest.fixture
def train(
    run_bundle: Callable, dataset: Path, label_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[tuple[int, ...]]]:
    """`train(output_dir, *overlays, stop=7)`: the shapes of the pairs that it made until a seventh one was wanted."""

    def run(output_dir: Path, *overlays: str, stop: int | None = None, **options: Any) -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []

        def noted(kind: type) -> Callable:
            make = kind.__getitem__

            def item(self: Any, index: int) -> dict:
                validating = isinstance(self.data[0], dict) and "fixed" in self.data[0]
                if not validating and len(shapes) == stop:
                    raise RuntimeError("stopped")
                result = make(self, index)
                if not validating:
                    shapes.append(tuple(result["image"].shape[1:]))
                return result

            return item

        given = {"dataset_dir": dataset, "output_dir": output_dir, **SIZES, **options}
        if "training/synthetic.yaml" in overlays:
            given["label_dir"] = label_dir
        with monkeypatch.context() as patch:
            for kind in (PairDataset, LabelMapPairs):
                patch.setattr(kind, "__getitem__", noted(kind))
            with pytest.raises(RuntimeError) if stop is not None else nullcontext():
                run_bundle("train", *overlays, **given)
        return shapes

    return run


@pytest.fixture(scope="module")
def whole() -> dict[str, tuple[Any, list[dict[str, str]]]]:
    """By name of the overlays, checkpoint and history of the training that nobody stopped; each is made once."""
    return {}


@pytest.fixture
def straight(train: Callable, whole: dict, tmp_path: Path) -> Callable[[str], Any]:
    def get(name: str) -> Any:
        if name not in whole:
            assert train(tmp_path / "straight", *OVERLAYS[name]) == SHAPES
            whole[name] = checkpoint(tmp_path / "straight"), history(tmp_path / "straight")
        return whole[name]

    return get


def checkpoint(folder: Path) -> Any:
    return torch.load(folder / "last.pt", weights_only=True)


def history(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def differences(first: Any, second: Any, where: str = "") -> list[str]:
    """Places where two nested states differ by as much as a bit."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [where]
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [found for key in first for found in differences(first[key], second[key], f"{where}/{key}")]
    if isinstance(first, list | tuple):
        pairs = enumerate(zip(first, second, strict=True))
        return [found for i, pair in pairs for found in differences(*pair, f"{where}/{i}")]
    return [] if first == second else [where]


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stop"),
    [("real", 6), ("real", 9), ("real", 10), ("virtual", 7), ("real with labels", 13)],
)
def test_training_killed_inside_a_stage_repeats_its_epoch_to_the_bit(
    train: Callable, straight: Callable, tmp_path: Path, name: str, stop: int
) -> None:
    wanted, rows = straight(name)
    assert train(tmp_path / "out", *OVERLAYS[name], stop=stop) == SHAPES[:stop]
    assert train(tmp_path / "out", *OVERLAYS[name], resume=True) == SHAPES[stop // 5 * 5 :]
    assert differences(wanted, checkpoint(tmp_path / "out")) == []
    assert history(tmp_path / "out") == rows


@pytest.mark.slow
def test_killed_process_goes_on_to_the_bit(train: Callable, straight: Callable, dataset: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-c", DYING, STAGES, 8, dataset, tmp_path / "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    dead = subprocess.run([str(word) for word in line], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert checkpoint(tmp_path / "out")["epoch"] == 1
    assert train(tmp_path / "out", *OVERLAYS["real"], resume=True) == SHAPES[5:]
    assert differences(straight("real")[0], checkpoint(tmp_path / "out")) == []


# --- out of time ------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever limits the time looks at the clock before each step, and each time a minute has passed."""
    ticks = iter(range(0, 60000, 60))
    monkeypatch.setattr("scripts.training.schedule.time", SimpleNamespace(monotonic=lambda: next(ticks)))


@pytest.mark.parametrize(
    ("name", "steps"), [("real", 1), ("real", 8), ("real", 10), ("virtual", 4), ("real with labels", 12)]
)
def test_training_out_of_time_goes_on_with_the_next_step_to_the_bit(
    train: Callable, straight: Callable, slow_clock: None, tmp_path: Path, name: str, steps: int
) -> None:
    wanted, rows = straight(name)
    out = tmp_path / "out"
    assert train(out, *OVERLAYS[name], overrides={"minutes": steps + 1}) == SHAPES[:steps]
    stopped = checkpoint(out)
    assert (stopped["epoch"], stopped["iteration"], len(stopped["sampler"]["left"])) == (steps // 5, steps, -steps % 5)
    assert not (out / "model.pt").exists()  # nothing was validated
    assert train(out, *OVERLAYS[name], resume=True) == SHAPES[steps:]
    assert differences(wanted, checkpoint(out)) == []
    # The row of the epoch that was cut is that of its second part.
    found = history(out)
    assert [row["epoch"] for row in found] == ["1", "2", "3"]
    assert [a == b for a, b in zip(found, rows, strict=True)] == [steps % 5 == 0 or n != steps // 5 for n in range(3)]


def test_many_short_runs_are_one_long_one(
    train: Callable, straight: Callable, slow_clock: None, tmp_path: Path
) -> None:
    shapes = train(tmp_path / "out", *OVERLAYS["real"], overrides={"minutes": 5})
    while len(shapes) < 15:
        shapes += train(tmp_path / "out", *OVERLAYS["real"], resume=True, overrides={"minutes": 5})
    assert shapes == SHAPES
    assert differences(straight("real")[0], checkpoint(tmp_path / "out")) == []


# --- the configs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlays", [["curriculum"], ["synthetic"], ["synthetic", "curriculum"]], ids=" ".join)
def test_schedule_goes_over_all_steps_of_all_stages(
    bundle: Callable, dataset: Path, label_dir: Path, tmp_path: Path, overlays: list[str]
) -> None:
    given = {"dataset_dir": dataset, "output_dir": tmp_path, "label_dir": label_dir}
    parser = bundle("train", *(f"training/{name}.yaml" for name in overlays), **given).parser
    steps = sum(stage["steps"] for stage in parser["stages"])
    assert steps == (11000 if "curriculum" in overlays else 2000)
    assert parser.get_parsed_content("max_epochs") * parser["pairs_per_epoch"] == steps
    factor = parser.get_parsed_content("lr_scheduler").lr_lambdas[0]
    assert factor(steps - 1) > 0 == factor(steps)


def test_most_steps_of_the_recipe_are_at_half_size(bundle: Callable) -> None:
    stages = bundle("train", "training/curriculum.yaml").parser["stages"]
    assert stages[0]["spacing"] == 2
    assert stages[0]["steps"] > sum(stage["steps"] for stage in stages[1:])


ORDERS = [
    ["labels"],
    ["curriculum", "labels"],
    ["labels", "curriculum"],
    ["boxes", "labels"],
    ["labels", "boxes"],
    ["short", "labels"],
    ["labels", "short"],
    ["synthetic", "labels"],
    ["labels", "synthetic"],
    ["synthetic", "curriculum", "labels"],
]


@pytest.mark.parametrize("overlays", ORDERS, ids=" ".join)
def test_labels_take_part_beside_any_other_overlay(
    run_bundle: Callable, dataset: Path, small_dataset: Path, label_dir: Path, tmp_path: Path, overlays: list[str]
) -> None:
    losses = []
    folder = small_dataset if "short" in overlays else dataset  # which resamples to 2 mm
    for weight in (0, 2):
        given: dict[str, Any] = {"dice_weight": weight, "labels_per_step": 31, "max_epochs": 1, "pairs_per_epoch": 2}
        given |= {"box": [16, 32, 16]} if "boxes" in overlays else {}
        given |= {"label_dir": str(label_dir)} if "synthetic" in overlays else {}
        given |= {"stages": [{"steps": 1, "spacing": 2, "size": None}, {"steps": 1, "spacing": 1, "size": None}]}
        files = [f"training/{name}.yaml" for name in overlays]
        run_bundle("train", *files, dataset_dir=folder, output_dir=tmp_path / str(weight), overrides=given)
        losses.append(float(history(tmp_path / str(weight))[0]["loss"]))
    assert 0.01 < losses[1] - losses[0] < 1.99  # twice a Dice loss that is neither 0 nor 1


def test_labels_to_draw_from_are_those_of_the_dataset_or_of_the_label_maps(
    bundle: Callable, dataset: Path, label_dir: Path
) -> None:
    def labels(*overlays: str, **options: Any) -> list[int]:
        parser = bundle("train", *(f"training/{name}.yaml" for name in overlays), dataset_dir=dataset, **options).parser
        return parser.get_parsed_content("train#trainer#prepare_batch").labels.tolist()

    named = [int(value) for value in json.loads(next(dataset.glob("*dataset.json")).read_text())["labels"]]
    assert labels("labels") == labels("curriculum", "labels") == [value for value in named if value != 0]
    assert labels("synthetic", "labels") == labels("labels", "synthetic")
    assert {17, 53} < set(labels("synthetic", "labels"))
    assert labels("labels", overrides={"dice_labels": [5]}) == [5]


def test_scan_without_labels_is_named_before_the_first_step(
    run_bundle: Callable, refused: Callable, dataset: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(dataset, tmp_path / "dataset")
    file = next(folder.glob("*dataset.json"))
    content = json.loads(file.read_text())
    for entry in content["training"]:
        entry.pop("label", None)
    file.write_text(json.dumps(content))
    image = sorted((folder / "imagesTr").iterdir())[1]
    (folder / "labelsTr" / image.name).unlink()
    with refused(image.name, "no label map", "labels.yaml"):
        run_bundle("train", "training/labels.yaml", dataset_dir=folder, output_dir=tmp_path / "out", **SIZES)
    assert not (tmp_path / "out" / "last.pt").exists()
    run_bundle("train", dataset_dir=folder, output_dir=tmp_path / "out", max_epochs=1, pairs_per_epoch=1)


def test_stages_in_epochs_are_refused(run_bundle: Callable, refused: Callable, dataset: Path, tmp_path: Path) -> None:
    stages = [{"epochs": 1, "spacing": 2, "size": None}]
    for overlay in ([], ["training/curriculum.yaml"]):
        with refused("--stages", "'epochs': 1", "'steps'"):
            run_bundle("train", *overlay, dataset_dir=dataset, output_dir=tmp_path, **{**SIZES, "stages": stages})
