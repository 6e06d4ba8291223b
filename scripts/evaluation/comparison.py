# SPDX-License-Identifier: Apache-2.0
"""The comparison of methods: every method on every pair. A second run measures only what is missing."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.evaluation.comparison_charts import write_charts
from scripts.evaluation.comparison_table import Results, comparison_text, shown_rows
from scripts.evaluation.markdown import write_markdown
from scripts.evaluation.methods import BASELINES, METHODS, Method, make_methods
from scripts.evaluation.studies import Item, Metrics, Study, dataset_studies, raw_study
from scripts.io import read_configs
from scripts.registration import start_registration
from scripts.runtime import InputError, supports_bf16, timed


def compare(
    output_dir: str,
    dataset_dir: str | None = None,
    pairs: str | None = None,
    count: int | None = None,
    methods: str | None = None,
    weights: str | None = None,
    baseline_weights: str | None = None,
    refine: int = 30,
    config_file: str = "configs/train.json",
    threads: int | None = None,
) -> None:
    """Compare methods on a dataset, on lists of raw pairs or on both, on the CPU.

    Writes `comparison.csv`, `comparison.md` and pictures, see `write_charts`. A row of the CSV is written as soon as it
    is measured. A second run with the same folder measures only rows that are missing, and those whose weights, network
    or data have changed, or that another version of the bundle has measured.

    Args:
        output_dir: folder for the tables and pictures.
        dataset_dir: Learn2Reg dataset, whose validation pairs and rescans are measured; use one `output_dir` for each.
        pairs: list of raw pairs, as `register --pairs` reads it, or several with commas between; each is prepared as
            `register` does.
        count: number of pairs of each study, from 1, beginning with the first; None for all.
        methods: names of the methods, with commas between; None for all.
        weights: weights files of the network, see `make_methods`.
        baseline_weights: weights files of the baselines, see `make_methods`.
        refine: number of steps of the method `refined`, from 0.
        config_file: config that defines network, preprocessing and labels; or several files with commas between.
        threads: number of CPU threads, from 1; None leaves it to torch and the other tools.

    Raises:
        InputError: if a file or an argument is bad.
    """
    start_registration(output_dir, 0, threads)
    lists = pairs.split(",") if pairs else []
    if dataset_dir is None and not lists:
        raise InputError("give --dataset_dir or --pairs, or both")
    config = read_configs(config_file)
    config["dataset_dir"] = dataset_dir
    network = config.get_parsed_content("network_def")
    bf16 = supports_bf16("cpu")
    definition = json.dumps({**config["network_def"], "bf16": bf16})
    kinds = methods.split(",") if methods else METHODS
    compared = make_methods(kinds, network, definition, weights, baseline_weights, refine, threads, bf16)
    results = Results(Path(output_dir) / "comparison.csv")
    studies = [] if dataset_dir is None else dataset_studies(config, dataset_dir, count, compared)
    studies += [raw_study(file, count, compared) for file in lists]
    for name, number in Counter(study.name for study in studies).items():
        if number > 1:
            raise InputError(f"--pairs {pairs}: {number} lists of one name, {name}; rename one, rows are kept by it")
    for study in studies:
        carry_out(study, results)
    pairs_of = {study.name: {case.name: case.data for case in study.cases} for study in studies}
    shown = shown_rows(results.rows, compared, pairs_of)
    charts = write_charts(Path(output_dir), shown)
    links = "".join(f"\n![{chart.stem.replace('_', ' ')}]({chart.name})\n" for chart in charts)
    write_markdown(Path(output_dir) / "comparison.md", comparison_text(shown, compared, pairs_of) + links)


def carry_out(study: Study, results: Results) -> None:
    """Measure the missing rows, pair by pair, so that other load on the machine affects all methods equally.

    Args:
        study: pairs, methods and metrics.
        results: rows so far; gets the new ones.
    """
    warm = False
    for case in study.cases:
        missing = [method for method in study.methods if not results.has(study.name, case.name, case.data, method)]
        if not missing:
            continue
        item = case.load()
        if not warm:
            _warm_up(study, missing, item)
            warm = True
        for method in missing:
            result, times = _timed(study, method, item)
            metrics = study.measure(item, method, result) | times
            results.add(study.name, case.name, case.data, method, metrics)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            print(f"{study.name} {case.name}, {method.name}: {shown}", flush=True)


def _warm_up(study: Study, methods: Sequence[Method], item: Item) -> None:
    """Run each network once: its first pass takes longer than the others."""
    for method in methods:
        if method.kind in (*BASELINES, "msfbnet"):
            study.register(item, method)


def _timed(study: Study, method: Method, item: Item) -> tuple[Any, Metrics]:
    """The result of a method, and its wall clock seconds, CPU seconds of all threads and peak memory of the process."""
    timings: dict[str, Metrics] = {}
    with timed(timings, method.name):
        cpu = time.process_time()
        result = study.register(item, method)
        cpu = time.process_time() - cpu
    return result, timings[method.name] | {"cpu_seconds": cpu}
