# SPDX-License-Identifier: Apache-2.0
"""The study of the network's parts: one real run, what a second call does, and verdicts from made-up figures."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import scripts.__main__ as command_line
from scripts.studies import ablations, costs, runs
from scripts.studies.ablation_table import Result, Variant, results_text, table_rows

ROOT = Path(__file__).parents[2]
AS_IS = Variant("as_is", (), "")
PART = Variant("without", ("overlay.yaml",), "the part", paper=True)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchanged_process: Callable) -> Iterator[Path]:
    """A bundle with a tiny network, which is the current folder; the study trains it as it is, for one step."""
    for folder in ("scripts", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "configs" / "train.json"
    config = json.loads(path.read_text())
    config["network_def"]["channels"] = [8, 8, 8]
    path.write_text(json.dumps(config | {"device": "cpu"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXX", "none")  # to compile the kernels would take longer than the step
    monkeypatch.setattr(ablations, "VARIANTS", ablations.VARIANTS[:1])
    monkeypatch.setattr(ablations, "SIZES", {"small": ablations.Size(epochs=1, pairs=1, seeds=1)})
    monkeypatch.setattr(costs, "SIZE", (16, 16, 16))
    monkeypatch.setattr(costs, "ROUNDS", 1)
    monkeypatch.setattr(ablations, "ROUNDS", 1)
    with unchanged_process():
        yield tmp_path


def study(dataset: Path) -> int:
    try:
        return command_line.main(["study", "ablations", str(dataset), "out"])
    except SystemExit as error:
        return error.code


@pytest.mark.slow
def test_it_trains_evaluates_and_goes_on(
    bundle_root: Path, small_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert study(small_dataset) == 0
    out = bundle_root / "out"
    assert {path.name for path in out.iterdir()} == {"ablations.csv", "ablations.md", "ablations.png", "costs", "runs"}
    with (out / "ablations.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    pairs = json.loads((out / "runs" / "as_is" / "0" / "metrics.json").read_text())["pairs"]
    assert float(row["dice"]) == pytest.approx(np.mean([pair["dice"] for pair in pairs]))
    assert (row["seeds"], row["pairs"], row["steps"]) == ("1", str(len(pairs)), "1")
    assert float(row["cpu_seconds"]) > 0 and float(row["parameters"]) > 1000 and float(row["macs"]) > 1e6
    assert (out / "ablations.md").read_text() in capsys.readouterr().out

    # What is finished is not done again; what is evaluated no more is evaluated again, and not trained.
    before = (out / "ablations.csv").read_text()
    started: list[list[str]] = []
    monkeypatch.setattr(runs, "run_child", lambda command, *_: started.append(command) or pytest.fail("ran"))
    assert study(small_dataset) == 0
    assert started == [] and (out / "ablations.csv").read_text() == before
    (out / "runs" / "as_is" / "0" / "metrics.json").unlink()
    with pytest.raises(BaseException, match="ran"):
        study(small_dataset)
    assert [part[0] for part in json.loads(started[0][-1])] == ["evaluating"]


def test_runs_with_other_settings_are_refused(
    bundle_root: Path, small_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(ablations, "carry_out", lambda *_: None)
    run = runs.Run(ablations.CONFIGS, {"max_epochs": 2}, bundle_root / "out" / "runs" / "as_is" / "0")
    runs.begin(run, "data")
    assert study(small_dataset) == 3
    assert "a run with other settings or data" in capsys.readouterr().err


def test_the_variants_are_distinct_networks_or_trainings() -> None:
    assert len({variant.name for variant in ablations.VARIANTS}) == len(ablations.VARIANTS)
    assert len({variant.overlays for variant in ablations.VARIANTS}) == len(ablations.VARIANTS)
    assert all((ROOT / path).is_file() for variant in ablations.VARIANTS for path in variant.overlays)


# --- the verdicts -----------------------------------------------------------------------------------------------------


def made_up(variant: Variant, seeds: list[float], ndv: float = 0.0, **known: float) -> Result:
    """Ten pairs, Dice around 0.5 with a spread of its own for each pair, plus a value for each seed."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(0.5, 0.02, 10)
    noise = rng.normal(0, 1e-4, (len(seeds), 10)) * (variant is not AS_IS)
    scores = {
        seed: {
            f"pair {i}": {"dice": pairs[i] + shift + noise[seed, i], "hd95": 6.0, "ndv_percent": ndv, "sdlogj": 0.1}
            for i in range(10)
        }
        for seed, shift in enumerate(seeds)
    }
    return Result(variant, scores, known, ["1.0"])


@pytest.mark.parametrize(
    ("as_is", "without", "verdict"),
    [
        ([0.010, 0.011, 0.012], [0.0, 0.001, 0.002], "worth it"),
        ([0.0, 0.001, 0.002], [0.010, 0.011, 0.012], "not worth it"),
        ([0.0, 0.02, 0.04], [0.005, 0.03, 0.05], "not told apart"),  # every pair differs, but the seeds do more
    ],
)
def test_a_difference_counts_where_it_is_beyond_seeds_and_pairs(
    as_is: list[float], without: list[float], verdict: str
) -> None:
    rows = table_rows([made_up(AS_IS, as_is), made_up(PART, without, cpu_ratio=0.8)], seeds=3)
    assert rows[1]["verdict"] == verdict
    assert rows[1]["dice_p_pairs"] == pytest.approx(2 / 2**10)
    assert rows[0]["dice_sd_seeds"] == pytest.approx(np.std(as_is, ddof=1))
    assert ("paper's method" in rows[1]["sentence"]) == (verdict != "worth it")
    assert "1.25 times the CPU time" in rows[1]["sentence"]
    assert "verdict" not in rows[0]


def test_pairs_that_disagree_are_not_told_apart() -> None:
    better = made_up(AS_IS, [0.0, 0.001, 0.002])
    scores = {
        seed: {
            name: {**pair, "dice": pair["dice"] + (0.02 if i == 0 else 1e-4 * (-1) ** i)}
            for i, (name, pair) in enumerate(pairs.items())
        }
        for seed, pairs in better.scores.items()
    }
    rows = table_rows([better, Result(PART, scores, {}, ["1.0"])], seeds=3)
    assert rows[1]["verdict"] == "not told apart"


def test_a_part_that_is_added_is_judged_the_other_way_round() -> None:
    added = Variant("labels", ("labels.yaml",), "training with labels", adds=True)
    rows = table_rows([made_up(AS_IS, [0.0, 0.001, 0.002]), made_up(added, [0.02, 0.021, 0.022])], seeds=3)
    assert rows[1]["verdict"] == "worth it"
    assert rows[1]["sentence"].startswith("Training with labels is worth it: Dice 0.5")


def test_a_part_against_folds_is_judged_by_them() -> None:
    part = Variant("displacement", ("d.yaml",), "integration", aim="ndv_percent")
    dice = [0.0, 0.001, 0.002]
    folded = made_up(part, dice)
    for seed, pairs in folded.scores.items():
        for i, pair in enumerate(pairs.values()):
            pair["ndv_percent"] = 0.1 + 0.01 * i + 0.001 * seed
    rows = table_rows([made_up(AS_IS, dice), folded], seeds=3)
    assert rows[1]["verdict"] == "worth it"
    assert "NDV (%) 0 with, 0.15 without" in rows[1]["sentence"]


def test_unfinished_variants_have_figures_and_no_verdict() -> None:
    rows = table_rows([made_up(AS_IS, [0.0, 0.001, 0.002]), made_up(PART, [0.02])], seeds=3)
    assert "verdict" not in rows[1] and np.isnan(rows[1]["dice_sd_seeds"])
    text = results_text([{**row, "steps": 300} for row in rows])
    assert "| without | 1 | 0.5" in text and "nan" not in text
    assert table_rows([made_up(AS_IS, []), made_up(PART, [])], seeds=3) == []


def test_more_variants_make_a_difference_count_less() -> None:
    as_is, without = made_up(AS_IS, [0.0, 0.001, 0.002]), made_up(PART, [0.004, 0.005, 0.006])
    others = [made_up(Variant(f"other {i}", (str(i),), "another"), [0.0, 0.001, 0.002]) for i in range(10)]
    alone, among = table_rows([as_is, without], 3)[1], table_rows([as_is, without, *others], 3)[1]
    assert alone["dice_p_pairs"] < among["dice_p_pairs"]
