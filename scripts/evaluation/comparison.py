"""The validation table: every method on every pair, by one command that goes on where it stopped.

Three studies, of pairs each: the validation pairs of a dataset; its rescans, one person scanned twice; and, where
they are given, people with landmarks as their scanners left them, aligned as the inference pipeline does.
"""

import json
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.bundle import ConfigParser
from monai.utils import convert_to_tensor
from torch import Tensor

from scripts.datasets import PairDataset, validation_pairs
from scripts.evaluation.baselines import METHODS, SYN, Method, make_methods
from scripts.evaluation.comparison_table import Results, comparison_text
from scripts.evaluation.scoring import score_inputs
from scripts.geometry import Grid
from scripts.io import existing_file, read_configs, scan_name, write_complete
from scripts.metrics import dice_per_label, hd95_per_label, lncc, non_diffeomorphic_volume, sdlogj, tre
from scripts.registration import (
    ROLES,
    ImageSources,
    Job,
    PredictedPair,
    PreparedPair,
    advanced,
    fuse,
    landmark_error,
    start_registration,
)
from scripts.runtime import InputError, supports_bf16, timed
from scripts.spatial import compose

INFERENCE = "configs/inference.json"

Item = dict[str, Any]
Figures = dict[str, float]


class Case(NamedTuple):
    """One pair of a study.

    Attributes:
        name: of the pair, fixed first.
        load: gives `image` `(2, X, Y, Z)`, fixed and moving, in [0, 1], `grid`, where that lies, and whatever the
            study's figures need.
    """

    name: str
    load: Callable[[], Item]


class Study(NamedTuple):
    """Pairs, and what is measured on each.

    Attributes:
        name: in the table.
        cases: the pairs.
        methods: to compare.
        measure: figures by name, of an item, a method and its field `(1, 3, X, Y, Z)`.
    """

    name: str
    cases: Sequence[Case]
    methods: Sequence[Method]
    measure: Callable[[Item, Method, Tensor], Figures]


def compare(
    dataset_dir: str,
    output_dir: str,
    weights: str | None = None,
    methods: str = ",".join(METHODS),
    pairs: int | None = None,
    voxelmorph_weights: str | None = None,
    refine: int = 30,
    landmarks_dir: str | None = None,
    config_file: str = "configs/train.json",
    threads: int | None = None,
) -> None:
    """Compare methods on a dataset, on the CPU, and write `comparison.csv` and `comparison.md`.

    Every row of the CSV is there as soon as it is measured, and is not measured again: a second run with the same
    folder measures what is missing, and what other weights or another network have changed.

    Args:
        dataset_dir: Learn2Reg dataset, one for each `output_dir`.
        output_dir: where the tables go.
        weights: see `make_methods`.
        methods: with commas between.
        pairs: how many of each study, from the first; all where None.
        voxelmorph_weights: of the overlay `configs/ablations/voxelmorph.yaml`.
        refine: steps of the method `refined`.
        landmarks_dir: folder of `NAME_T1.nii.gz` and `NAME_landmarks.csv`, RAS mm; every ordered pair of them.
        config_file: whose network, preprocessing and labels are used; or several files, with commas between.
        threads: of the CPU.

    Raises:
        InputError: for bad files or arguments.
    """
    start_registration(output_dir, 0, threads)
    config = read_configs(config_file)
    config["dataset_dir"] = dataset_dir
    network = config.get_parsed_content("network_def")
    bf16 = supports_bf16("cpu")
    definition = json.dumps({**config["network_def"], "bf16": bf16})
    ways = make_methods(methods.split(","), network, definition, weights, voxelmorph_weights, refine, threads, bf16)
    results = Results(Path(output_dir) / "comparison.csv")
    studies = _studies(config, dataset_dir, landmarks_dir, pairs, ways)
    for study in studies:
        carry_out(study, results)
    text = comparison_text(results.rows, ways, {study.name: [case.name for case in study.cases] for study in studies})
    path = Path(output_dir) / "comparison.md"
    write_complete(path, lambda file: print(text, end="", file=file))
    print(f"\n{text}\ntable: {path}")


def carry_out(study: Study, results: Results) -> None:
    """Measure what is missing: for each pair every method in turn, so that other load on the machine hits all alike."""
    warm = False
    for case in study.cases:
        left = [method for method in study.methods if not results.has(study.name, case.name, method)]
        if not left:
            continue
        item = case.load()
        if not warm:
            _warm_up(left, item)
            warm = True
        for method in left:
            field, times = _timed(method, item)
            figures = study.measure(item, method, field)
            results.add(study.name, case.name, method, figures | times)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in (figures | times).items())
            print(f"{study.name} {case.name}, {method.name}: {shown}", flush=True)


def dataset_cases(pairs: Sequence[dict[str, Any]], preprocessing: Callable[..., Any]) -> list[Case]:
    """Pairs of a dataset, read and preprocessed when the first of them is needed."""
    dataset = cache(lambda: PairDataset(pairs, preprocessing))

    def load(index: int) -> Item:
        item = dataset()[index]
        grid = Grid(tuple(item["image"].shape[1:]), item["image"].affine.double().numpy())
        plain = {
            key: convert_to_tensor(value, track_meta=False) if isinstance(value, Tensor) else value
            for key, value in item.items()
        }
        return plain | {"grid": grid}

    names = ["_".join(scan_name(pair[role]["image"]) for role in ROLES) for pair in pairs]
    return [Case(name, partial(load, index)) for index, name in enumerate(names)]


def landmark_cases(folder: str | Path, prepare: Callable[[Job], PreparedPair]) -> list[Case]:
    """All ordered pairs of the people in a folder.

    Args:
        folder: of `NAME_T1.nii.gz` and `NAME_landmarks.csv`.
        prepare: the inference pipeline's steps from a job to the network's grid.

    Raises:
        InputError: if there are fewer than two people, or landmarks are missing.
    """
    images = sorted(Path(folder).expanduser().glob("*_T1.nii.gz"))
    if len(images) < 2:
        raise InputError(f"{folder}: want NAME_T1.nii.gz and NAME_landmarks.csv of two people or more")
    people = {image.name.removesuffix("_T1.nii.gz"): image for image in images}
    files = {
        name: ImageSources(image=str(image), landmarks=str(existing_file(image.with_name(f"{name}_landmarks.csv"))))
        for name, image in people.items()
    }

    def load(fixed: str, moving: str) -> Item:
        pair = prepare(Job(name=f"{fixed}_{moving}", folder="", fixed=files[fixed], moving=files[moving]))
        return {"image": torch.from_numpy(pair.image), "grid": pair.grid, "pair": pair}

    return [Case(f"{fixed}_{moving}", partial(load, fixed, moving)) for fixed, moving in permutations(people, 2)]


def validation_figures(item: Item, method: Method, field: Tensor, labels: Sequence[int]) -> Figures:
    """What the evaluation of a dataset measures, and for methods that do not say the inverse the inverse consistency.

    Means over the labels and landmarks; NDV where the moving image is above 0, as in LUMIR.
    """
    pair = score_inputs(item | {"pred": field[0]})
    figures: dict[str, Tensor] = {}
    if "fixed_label" in pair and "moving_label" in pair:
        fixed, warped, moving = (pair[f"{which}_label"] for which in ("fixed", "warped", "moving"))
        figures["dice"] = dice_per_label(fixed, warped, labels, moving)
        figures["hd95"] = hd95_per_label(fixed, warped, labels, pair["spacing"], moving)
    figures["ndv_percent"] = non_diffeomorphic_volume(field[0], pair["moving_mask"])
    figures["sdlogj"] = sdlogj(field[0])
    figures["lncc"] = lncc(pair["image"], field[0])
    if "fixed_keypoints" in pair and "moving_keypoints" in pair:
        figures["tre"] = tre(field[0], pair["fixed_keypoints"], pair["moving_keypoints"], pair["spacing"])
    if method.kind not in SYN:  # which has its own inverse, exact by construction
        back = method.field(item["image"][None].flip(1), item["grid"].affine)
        figures["inverse_consistency_mm"] = _lengths_mm(item, compose(back, field))
    return {name: float(values.nanmean()) for name, values in figures.items()}


def rescan_figures(item: Item, method: Method, field: Tensor) -> Figures:
    """How far the brain of one person moves between two scans of it."""
    return {"displacement_mm": float(_lengths_mm(item, field).mean())}


def landmark_figures(item: Item, method: Method, field: Tensor) -> Figures:
    """Target registration error of a raw pair, through affine and field as the inference pipeline fuses them."""
    registration = fuse(advanced(PredictedPair, item["pair"], field=field[0], device="cpu"))
    return {"tre": landmark_error(registration)["tre"]}


def _studies(
    config: ConfigParser, dataset_dir: str, landmarks_dir: str | None, count: int | None, methods: Sequence[Method]
) -> list[Study]:
    preprocessing = config.get_parsed_content("validate#preprocessing")
    validation = dataset_cases(validation_pairs(dataset_dir)[:count], preprocessing)
    measure = partial(validation_figures, labels=list(config.get_parsed_content("labels")))
    studies = [Study("validation", validation, methods, measure)]
    affordable = [method for method in methods if method.kind != "syn_cc"]
    rescans = _rescans(dataset_dir)[:count]
    if rescans:
        studies.append(Study("rescan", dataset_cases(rescans, preprocessing), affordable, rescan_figures))
    if landmarks_dir is not None:
        inference = ConfigParser(ConfigParser.load_config_file(INFERENCE))
        cases = landmark_cases(landmarks_dir, inference.get_parsed_content("preprocessing#step"))[:count]
        studies.append(Study("landmarks", cases, affordable, landmark_figures))
    return studies


def _rescans(dataset_dir: str) -> list[dict[str, dict[str, str]]]:
    """The dataset's section `rescan`, which few datasets have."""
    try:
        return validation_pairs(dataset_dir, "rescan")
    except InputError:
        return []


def _warm_up(methods: Sequence[Method], item: Item) -> None:
    """The first pass of a network takes longer than the others."""
    for method in methods:
        if method.kind in ("msfbnet", "voxelmorph"):
            _timed(method, item)


def _timed(method: Method, item: Item) -> tuple[Tensor, Figures]:
    """The field, and what it took: CPU seconds are those of all threads, memory is that of the process."""
    image = item["image"][None]
    timings: dict[str, Figures] = {}
    with timed(timings, method.name):
        cpu = time.process_time()
        field = method.field(image, item["grid"].affine)
        cpu = time.process_time() - cpu
    return field, timings[method.name] | {"cpu_seconds": cpu}


def _lengths_mm(item: Item, field: Tensor) -> Tensor:
    """Lengths of the field's vectors where the fixed image is above 0."""
    spacing = torch.from_numpy(item["grid"].spacing).to(field.dtype)
    return torch.linalg.vector_norm(field[0] * spacing.view(3, 1, 1, 1), dim=0)[item["image"][0] > 0]
