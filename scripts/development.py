# SPDX-License-Identifier: Apache-2.0
"""Commands of who works on the network: what its parts, and the steps of a training, cost and are worth."""

import inspect
from pkgutil import resolve_name
from typing import Literal

from scripts.command_line import UsageError, check_place
from scripts.conventions import TRAIN


def study(
    what: Literal["ablations", "deformations", "alignment", "signatures"],
    dataset_dir: str | None = None,
    output_dir: str | None = None,
    size: Literal["small", "full"] | None = None,
    jobs: int | None = None,
    weights: str | None = None,
    baseline_weights: str | None = None,
    methods: str | None = None,
    threads: int | None = None,
    deformations: str | None = None,
    alignment: str | None = None,
) -> None:
    """Carry out a study, and write its table and its figure.

    ablations: the network is trained with and without each of its parts, with three seeds. deformations: brains that
    are warped by known fields, ever further. alignment: a scan that is turned, shifted or scaled, ever further.
    signatures: which figures of these two studies tell that a registration failed. The same command again goes on where
    it was stopped.

    Args:
        what: name of the study.
        dataset_dir: of all but signatures: folder of a Learn2Reg dataset with labels.
        output_dir: folder for the results.
        size: small, for two CPU cores, or full, for a GPU; small if not given.
        jobs: of ablations: number of trainings side by side, each on one CPU thread, from 1; 1 if not given.
        weights: of deformations and alignment: file of the network's weights; models/model.pt if not given.
        baseline_weights: of deformations: weights of trained baselines, as in compare.
        methods: of deformations and alignment: methods, with commas between; all if not given.
        threads: of deformations and alignment: number of CPU threads, from 1.
        deformations: of signatures: output_dir of that study.
        alignment: of signatures: output_dir of that study.
    """
    given = {name: value for name, value in locals().items() if value is not None and name != "what"}
    check_place()
    function = resolve_name(f"scripts.studies:study_{what}")
    wanted = inspect.signature(function).parameters
    if other := [name for name in given if name not in wanted]:
        raise UsageError(f"argument --{other[0]}: not of the study {what}")
    if missing := [
        name for name, argument in wanted.items() if argument.default is argument.empty and name not in given
    ]:
        raise UsageError(f"argument --{missing[0]}: the study {what} needs it")
    function(**given)


def benchmark(
    what: Literal["training"],
    output_dir: str = "output/benchmark",
    sizes: str = "2mm,boxes,full",
    steps: int | None = None,
    threads: int | None = None,
    device: Literal["cpu", "cuda"] | None = None,
    label_dir: str | None = None,
    against: str | None = None,
    rounds: int = 3,
    config_file: str = TRAIN,
) -> None:
    """Measure training steps: time of each part, memory and calls, and what the device can do.

    Args:
        what: what is measured; may be given without its name, as the first word.
        output_dir: folder for benchmark.csv and benchmark.md.
        sizes: image sizes, with commas between.
        steps: number of steps whose median is taken, from 1; 3 on the CPU and 20 on a GPU if not given.
        threads: number of CPU threads, from 1.
        device: device that is measured; the GPU, if there is one, if not given.
        label_dir: folder of label maps to synthesize pairs from; without it, pairs are smooth noise in memory.
        against: git commit that is measured in turn with the files here, for the ratio of the two.
        rounds: number of turns, from 1.
        config_file: config of the training, here and in that commit, or several with commas between.
    """
    given = {name: value for name, value in locals().items() if name != "what"}
    check_place()
    resolve_name("scripts.evaluation:benchmark_training")(**given)
