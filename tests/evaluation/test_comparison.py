# SPDX-License-Identifier: Apache-2.0
"""The command that compares methods: known figures, and rows that are measured once."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import scripts.__main__ as command_line
from scripts.datasets.learn2reg import label_names, validation_pairs
from scripts.evaluation import studies
from scripts.evaluation.comparison import (
    compare,
)
from scripts.evaluation.comparison_table import Results
from scripts.evaluation.methods import BASELINES, METHODS, make_methods
from scripts.io.keypoints import load_keypoints
from scripts.metrics import dice_per_label
from scripts.networks import MSFBNet
from scripts.networks.baselines import VoxelMorphBaseline
from tests.fixtures.bundle import KEEP

ROOT = Path(__file__).parents[2]


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """That of training, with the small network of these tests."""
    overlay = tmp_path_factory.mktemp("config") / "small.yaml"
    overlay.write_text("network_def#channels: [8, 8, 8]\n")
    return f"['{ROOT / 'configs' / 'train.json'}','{overlay}']"


@pytest.fixture(scope="module")
def rescanned(odd_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The odd dataset, with one pair of it as a rescan."""
    folder = shutil.copytree(odd_dataset, tmp_path_factory.mktemp("rescanned") / "dataset")
    file = folder / "VIRTUAL_dataset.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"rescan": content["registration_val"][:1]}))
    return folder


@pytest.fixture
def run(
    rescanned: Path, config_file: str, tmp_path: Path, unchanged_process: Callable, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, str]]]:
    """`run("affine,msfbnet", weights)`: the rows of the comparison in `tmp_path`."""
    monkeypatch.chdir(ROOT)

    def call(methods: str, weights: object = None, **options: object) -> list[dict[str, str]]:
        arguments = {"methods": methods, "weights": weights, "config_file": config_file, **options}
        words = [word for name, value in arguments.items() if value is not None for word in (f"--{name}", str(value))]
        with unchanged_process():
            code = command_line.main(["compare", str(tmp_path), "--dataset_dir", str(rescanned), *words])
        assert code == 0
        return read_rows(tmp_path)

    return call


def test_affine_has_the_figures_of_the_files(run: Callable, rescanned: Path) -> None:
    rows = run("affine")
    assert [row["study"] for row in rows] == ["validation", "validation", "rescan"]
    labels = list(label_names(rescanned))
    for row, pair in zip(rows, validation_pairs(rescanned), strict=False):
        maps = [nib.load(pair[role]["label"]) for role in ("fixed", "moving")]
        fixed, moving = (torch.from_numpy(np.asarray(image.dataobj).astype(np.int32)) for image in maps)
        assert float(row["dice"]) == pytest.approx(dice_per_label(fixed, moving, labels).nanmean().item(), rel=1e-6)
        spacing = float(maps[0].affine[0, 0])
        points = [load_keypoints(pair[role]["keypoints"]).numpy() for role in ("fixed", "moving")]
        assert float(row["tre"]) == pytest.approx(spacing * np.linalg.norm(points[0] - points[1], axis=1).mean(), 1e-4)
        assert [float(row[name]) for name in ("ndv_percent", "inverse_consistency_mm")] == [0, 0]
    assert float(rows[2]["displacement_mm"]) == 0


def test_untrained_network_is_like_the_affine_alignment(run: Callable, fresh_weights: Path) -> None:
    affine, network = run("affine,msfbnet", fresh_weights, count=1)[:2]
    assert (affine["method"], network["method"]) == ("affine", "msfbnet fresh")
    for name in ("dice", "hd95", "lncc", "tre"):
        assert float(network[name]) == pytest.approx(float(affine[name]), rel=1e-3)
    assert float(network["cpu_seconds"]) > 0


def test_every_set_of_weights_has_its_rows(
    run: Callable, fresh_weights: Path, random_weights: Path, tmp_path: Path
) -> None:
    rows = run("msfbnet", f"one={fresh_weights},two={random_weights}", count=1)
    assert [row["method"] for row in rows] == ["msfbnet one", "msfbnet two"] * 2
    assert len({row["weights"] for row in rows}) == 2
    assert float(rows[3]["displacement_mm"]) > 0.1 > float(rows[2]["displacement_mm"])
    text = (tmp_path / "comparison.md").read_text()
    assert "| msfbnet one | 1 |" in text and rows[0]["weights"] in text and rows[1]["weights"] in text


def test_refinement_has_a_row_for_each_set_and_number_of_steps(run: Callable, fresh_weights: Path) -> None:
    run("msfbnet,refined", fresh_weights, refine=2, count=1)
    rows = run("refined", fresh_weights, refine=6, count=1)
    validation = {row["method"]: row for row in rows if row["study"] == "validation"}
    assert list(validation) == ["msfbnet fresh", "refined fresh, 2 steps", "refined fresh, 6 steps"]
    similarity = [float(row["lncc"]) for row in validation.values()]
    assert similarity == sorted(similarity) and similarity[2] > similarity[0]


def test_measured_rows_stay_until_the_weights_change(
    run: Callable, fresh_weights: Path, random_weights: Path, tmp_path: Path
) -> None:
    weights = shutil.copy(fresh_weights, tmp_path / "model.pt")
    first = run("affine,msfbnet", weights, count=1)
    assert run("affine,msfbnet", weights, count=1) == first  # seconds, too, so nothing is measured again
    shutil.copy(random_weights, weights)
    rows = run("affine,msfbnet", weights, count=1)
    assert rows[: len(first)] == first
    assert [(row["study"], row["method"]) for row in rows[len(first) :]] == [
        ("validation", "msfbnet model"),
        ("rescan", "msfbnet model"),
    ]
    assert rows[-1]["weights"] != first[-1]["weights"]
    # The table is of the weights that are there now.
    assert first[1]["weights"] not in (tmp_path / "comparison.md").read_text()


def test_weights_in_another_network_are_measured_anew(
    run: Callable, config_file: str, random_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "plain.yaml").write_text("network_def#diffeomorphic: false\n")
    run("msfbnet", random_weights, count=1)
    rows = run("msfbnet", random_weights, count=1, config_file=f"{config_file},{tmp_path / 'plain.yaml'}")
    assert len(rows) == 4 and rows[0]["sdlogj"] != rows[2]["sdlogj"]


@pytest.mark.slow
def test_lists_of_raw_pairs_have_rows_without_a_dataset(
    odd_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchanged_process: Callable
) -> None:
    monkeypatch.chdir(ROOT)
    config = json.loads(Path(studies.INFERENCE).read_text()) | {"network_size": [1, 1, 1], "network_spacing": 4}
    (tmp_path / "inference.json").write_text(json.dumps(config))
    monkeypatch.setattr(studies, "INFERENCE", str(tmp_path / "inference.json"))
    pair = validation_pairs(odd_dataset)[0]
    files = {role: pair[role]["image"] for role in ("fixed", "moving")}
    files |= {f"{role}_label": pair[role]["label"] for role in ("fixed", "moving")}
    for name, count in (("some.json", 1), ("others.json", 2)):
        (tmp_path / name).write_text(json.dumps([files | {"name": f"pair{number}"} for number in range(count)]))
    words = ["--pairs", f"{tmp_path / 'some.json'},{tmp_path / 'others.json'}", "--count", "1", "--methods", "affine"]
    with unchanged_process():
        assert command_line.main(["compare", str(tmp_path), *words]) == 0
    rows = read_rows(tmp_path)
    assert [(row["study"], row["pair"]) for row in rows] == [("raw some", "pair0"), ("raw others", "pair0")]
    assert 0 < float(rows[0]["dice"]) < 1 and rows[0]["dice"] == rows[1]["dice"]
    text = (tmp_path / "comparison.md").read_text()
    assert "## Raw some" in text and "### Dice of each pair" in text and "| pair0 | 0." in text


def test_tables_are_printed(run: Callable, fresh_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run("affine,voxelmorph,msfbnet", fresh_weights)
    printed = capsys.readouterr().out
    assert (tmp_path / "comparison.md").read_text() in printed
    assert "voxelmorph: left out" in printed
    assert "| affine | 2 |" in printed
    pictures = [f"comparison_validation_{kind}.png" for kind in ("time", "smoothness")]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(pictures)
    assert all(f"]({picture})" in printed for picture in pictures)


def test_voxelmorph_takes_part(run: Callable, tmp_path: Path) -> None:
    torch.save(VoxelMorphBaseline().state_dict(), tmp_path / "voxelmorph.pt")
    rows = run("voxelmorph", baseline_weights=f"voxelmorph={tmp_path / 'voxelmorph.pt'}", count=1)
    assert {row["method"] for row in rows} == {"voxelmorph"}


@pytest.mark.parametrize("name", BASELINES)
def test_trains_a_baseline_by_the_same_recipe(name: str, run_bundle: Callable, dataset: Path, tmp_path: Path) -> None:
    sizes = {
        "max_epochs": 1,
        "pairs_per_epoch": 1,
        "val_interval": 1,
        "network_def#channels": KEEP,
    }
    run_bundle("train", f"ablations/{name}.yaml", dataset_dir=dataset, output_dir=tmp_path, overrides=sizes)
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    assert weights.keys() == BASELINES[name]().state_dict().keys()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": "affine,ants"}, ["ants", *METHODS]),
        ({"methods": "msfbnet"}, ["--weights FILE"]),
        ({"methods": "msfbnet", "weights": "none.pt"}, ["none.pt", "no such file"]),
        ({"methods": "voxelmorph", "baseline_weights": "voxelmorph=none.pt"}, ["none.pt", "no such file"]),
        ({"methods": "voxelmorph", "baseline_weights": "model.pt"}, ["--baseline_weights", "NAME=FILE", "voxelmorph"]),
        ({"methods": "affine", "config_file": "none.yaml"}, ["none.yaml", "no such file"]),
        ({"methods": "affine", "pairs": "none.csv"}, ["none.csv", "no such file"]),
        ({"methods": "affine", "dataset_dir": None}, ["--dataset_dir", "--pairs"]),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused_at_once(
    options: dict, words: list, dataset: Path, tmp_path: Path, refused: Callable, unchanged_process: Callable
) -> None:
    with unchanged_process(), refused(*words):
        compare(str(tmp_path), **{"dataset_dir": str(dataset), **options})
    assert not (tmp_path / "comparison.csv").exists()


def test_two_weights_of_one_name_are_refused(fresh_weights: Path, refused: Callable) -> None:
    with refused("two sets of one name"):
        make_methods(["msfbnet"], MSFBNet([8, 8, 8]), "", f"{fresh_weights},{fresh_weights}")


def test_a_file_that_is_no_comparison_is_left_alone(tmp_path: Path, refused: Callable) -> None:
    (tmp_path / "comparison.csv").write_text("a,b\n1,2\n")
    with refused("comparison.csv", "move it away"):
        Results(tmp_path / "comparison.csv")
    assert (tmp_path / "comparison.csv").read_text() == "a,b\n1,2\n"
