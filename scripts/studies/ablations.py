# SPDX-License-Identifier: Apache-2.0
"""What each part of the network is worth: it is trained with and without, on the same data, with several seeds."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from scripts.io import check_folder
from scripts.runtime import InputError
from scripts.studies import runs
from scripts.studies.ablation_table import Result, Variant, write_results
from scripts.studies.costs import ROUNDS, Costs
from scripts.studies.tasks import Task, carry_out

CONFIGS = ("configs/train.json", "configs/training/short.yaml")
ABLATIONS = "configs/ablations"

# The first is what the others are compared with. Without attention, features are concatenated and nothing else, so
# that is also the row of the fusion by concatenation.
VARIANTS = (
    Variant("as_is", (), ""),
    Variant("no_auxiliary_decoder", (f"{ABLATIONS}/no_auxiliary_decoder.yaml",), "the auxiliary decoder", paper=True),
    Variant("global_attention", (f"{ABLATIONS}/global_attention.yaml",), "local attention beside global", paper=True),
    Variant("local_attention", (f"{ABLATIONS}/local_attention.yaml",), "global attention beside local", paper=True),
    Variant("no_attention", (f"{ABLATIONS}/no_attention.yaml",), "attention after concatenation", paper=True),
    Variant("add_fusion", (f"{ABLATIONS}/add_fusion.yaml",), "attention instead of addition", paper=True),
    Variant("no_comparison", (f"{ABLATIONS}/no_comparison.yaml",), "the comparison"),
    Variant("not_iterated", (f"{ABLATIONS}/not_iterated.yaml",), "a second iteration"),
    Variant("one_way", (f"{ABLATIONS}/one_way.yaml",), "symmetry"),
    Variant("no_detail", (f"{ABLATIONS}/no_detail.yaml",), "the last correction"),
    Variant("displacement", (f"{ABLATIONS}/displacement.yaml",), "integration", aim="ndv_percent"),
    Variant("four_scales", (f"{ABLATIONS}/four_scales.yaml",), "a fifth scale", paper=True),
    Variant("weakly_supervised", ("configs/training/labels.yaml",), "training with labels", adds=True),
)


class Size(NamedTuple):
    """How much is computed.

    Attributes:
        epochs: number of epochs of a training.
        pairs: number of pairs, and so of steps, of an epoch.
        seeds: number of seeds.
    """

    epochs: int
    pairs: int
    seeds: int


SIZES = {"small": Size(10, 30, 3), "full": Size(100, 30, 3)}


def study_ablations(dataset_dir: str, output_dir: str, size: str = "small", jobs: int = 1) -> None:
    """Train and evaluate every variant with every seed, and write `ablations.csv`, `.md` and `.png`.

    The same call again goes on where it was stopped. Tables and figure are written again after each run.

    Args:
        dataset_dir: Learn2Reg dataset with labels.
        output_dir: folder for the results; `runs/VARIANT/SEED` are the trainings, `costs` what the networks cost.
        size: a name in `SIZES`.
        jobs: number of runs side by side, of one CPU thread each, from 1.

    Raises:
        InputError: if an argument is bad, the dataset has no labels, `output_dir` holds runs with other settings or
            data, or a run fails.
    """
    check_folder(output_dir)
    if jobs < 1:
        raise InputError(f"--jobs {jobs}: want a number from 1")
    out, amount = Path(output_dir), SIZES[size]
    data = runs.data_digest(dataset_dir)
    everything = {
        (variant.name, seed): _run(variant, seed, amount, out) for seed in range(amount.seeds) for variant in VARIANTS
    }
    costs = {variant.name: _costs(variant, out) for variant in VARIANTS if not variant.adds}
    for run in everything.values():
        runs.begin(run, data)
    # Seed by seed, so that a part of the table is of use. Costs are known after the first seed.
    first = [_training(name, run, dataset_dir) for name, run in everything.items() if name[1] == 0]
    others = [_training(name, run, dataset_dir) for name, run in everything.items() if name[1] > 0]
    measuring = [
        Task(f"costs of {name}", ROUNDS, lambda cost=cost: len(cost.rounds()), cost.measure)  # type: ignore[misc]
        for name, cost in costs.items()
    ]

    def write() -> None:
        results = [_result(variant, everything, costs) for variant in VARIANTS]
        write_results(out, results, amount.seeds, amount.epochs * amount.pairs)

    carry_out([*first, *measuring, *others], jobs, write)
    write()
    print((out / "ablations.md").read_text(encoding="utf-8"))


def _run(variant: Variant, seed: int, size: Size, out: Path) -> runs.Run:
    options = {
        "seed": seed,
        "max_epochs": size.epochs,
        "pairs_per_epoch": size.pairs,
        "val_interval": size.epochs,  # at the end only
    }
    return runs.Run((*CONFIGS, *variant.overlays), options, out / "runs" / variant.name / str(seed))


def _costs(variant: Variant, out: Path) -> Costs:
    return Costs((*CONFIGS, *variant.overlays), CONFIGS, out / "costs" / f"{variant.name}.json")


def _training(name: tuple[str, int], run: runs.Run, dataset_dir: str) -> Task:
    """The task of a run, whose units are its epochs, and the evaluation as one more."""
    return Task(
        f"{name[0]}, seed {name[1]}",
        run.epochs + 1,
        lambda: runs.epochs_done(run) + runs.is_finished(run),
        partial(runs.carry_out, run, dataset_dir),
    )


def _result(variant: Variant, everything: dict[tuple[str, int], runs.Run], costs: dict[str, Costs]) -> Result:
    finished = {seed: run for (name, seed), run in everything.items() if name == variant.name and runs.is_finished(run)}
    return Result(
        variant,
        scores={seed: runs.scores(run) for seed, run in finished.items()},
        costs=costs[variant.name if variant.name in costs else VARIANTS[0].name].summary(),
        versions=sorted({version for run in finished.values() for version in runs.versions_of(run)}),
    )
