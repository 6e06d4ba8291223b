# SPDX-License-Identifier: Apache-2.0
"""The comparison of methods: every method on every pair. A second run measures only what is missing.

Three studies: the validation pairs of a dataset; its rescans, one person scanned twice; and, if a folder of them is
given, raw scans with landmarks, prepared by the inference pipeline.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
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
from scripts.evaluation.markdown import write_markdown
from scripts.evaluation.scoring import score_inputs
from scripts.geometry import Grid
from scripts.io import existing_file, read_configs, scan_name
from scripts.metrics import dice_per_label, hd95_per_label, lncc, non_diffeomorphic_volume, sdlogj, tre
from scripts.registration import (
    ROLES,
    ImageSources,
    Job,
    PredictedPair,
    PreparedPair,
    advanced,
    fuse,
    json_sha256,
    landmark_error,
    source_digest,
    start_registration,
)
from scripts.runtime import InputError, bundle_version, supports_bf16, timed
from scripts.spatial import compose

INFERENCE = "configs/inference.json"

Item = dict[str, Any]
Metrics = dict[str, float]


class Case(NamedTuple):
    """One pair of a study.

    Attributes:
        name: names of the fixed and the moving scan, joined by an underscore.
        data: SHA-256 of all that a measurement depends on beside the method: content of the pair's files, labels to
            score, preprocessing, version of the bundle.
        load: function that returns `image`, fixed and moving, `(2, X, Y, Z)` in [0, 1], its `grid`, and other inputs of
            the study's metrics.
    """

    name: str
    data: str
    load: Callable[[], Item]


class Study(NamedTuple):
    """Pairs, methods, and the metrics that are measured.

    Attributes:
        name: name in the table.
        cases: the pairs.
        methods: the methods.
        measure: function of a loaded pair, a method and its field, `(1, 3, X, Y, Z)`, that returns metrics by name.
    """

    name: str
    cases: Sequence[Case]
    methods: Sequence[Method]
    measure: Callable[[Item, Method, Tensor], Metrics]


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

    A row of the CSV is written as soon as it is measured. A second run with the same folder measures only rows that are
    missing, and those whose weights, network or data have changed, or that another version of the bundle has measured.

    Args:
        dataset_dir: Learn2Reg dataset; use one `output_dir` for each.
        output_dir: folder for the tables.
        weights: weights files of the network, see `make_methods`.
        methods: names of the methods, with commas between.
        pairs: number of pairs of each study, from 1, beginning with the first; None for all.
        voxelmorph_weights: weights file trained with `configs/ablations/voxelmorph.yaml`.
        refine: number of steps of the method `refined`, from 0.
        landmarks_dir: folder of `NAME_T1.nii.gz` and `NAME_landmarks.csv`, RAS mm; all ordered pairs are compared.
        config_file: config that defines network, preprocessing and labels; or several files with commas between.
        threads: number of CPU threads, from 1; None leaves it to torch, SimpleITK and ANTs.

    Raises:
        InputError: if a file or an argument is bad.
    """
    start_registration(output_dir, 0, threads)
    config = read_configs(config_file)
    config["dataset_dir"] = dataset_dir
    network = config.get_parsed_content("network_def")
    bf16 = supports_bf16("cpu")
    definition = json.dumps({**config["network_def"], "bf16": bf16})
    compared = make_methods(methods.split(","), network, definition, weights, voxelmorph_weights, refine, threads, bf16)
    results = Results(Path(output_dir) / "comparison.csv")
    studies = _studies(config, dataset_dir, landmarks_dir, pairs, compared)
    for study in studies:
        carry_out(study, results)
    pairs_of = {study.name: {case.name: case.data for case in study.cases} for study in studies}
    write_markdown(Path(output_dir) / "comparison.md", comparison_text(results.rows, compared, pairs_of))


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
            _warm_up(missing, item)
            warm = True
        for method in missing:
            field, times = _timed(method, item)
            metrics = study.measure(item, method, field) | times
            results.add(study.name, case.name, case.data, method, metrics)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            print(f"{study.name} {case.name}, {method.name}: {shown}", flush=True)


def dataset_cases(
    pairs: Sequence[dict[str, Any]], preprocessing: Callable[..., Any], settings: Mapping[str, Any]
) -> list[Case]:
    """Cases of a dataset's pairs. The dataset is read and preprocessed when the first case is loaded.

    Args:
        pairs: pairs of the dataset, as `validation_pairs` returns them.
        preprocessing: transform of the scans in the config.
        settings: what the measurements depend on beside the files, ready for JSON.
    """
    dataset = cache(lambda: PairDataset(pairs, preprocessing))

    def load(index: int) -> Item:
        item = dataset()[index]
        grid = Grid(tuple(item["image"].shape[1:]), item["image"].affine.double().numpy())
        tensors = {
            key: convert_to_tensor(value, track_meta=False) if isinstance(value, Tensor) else value
            for key, value in item.items()
        }
        return tensors | {"grid": grid}

    names = ["_".join(scan_name(pair[role]["image"]) for role in ROLES) for pair in pairs]
    digest = cache(source_digest)  # many pairs share a scan
    data = [_data({role: {k: digest(p) for k, p in pair[role].items()} for role in ROLES}, settings) for pair in pairs]
    return [Case(name, data[index], partial(load, index)) for index, name in enumerate(names)]


def landmark_cases(
    folder: str | Path, prepare: Callable[[Job], PreparedPair], settings: Mapping[str, Any]
) -> list[Case]:
    """Cases of all ordered pairs of the scans in a folder.

    Args:
        folder: folder of `NAME_T1.nii.gz` and `NAME_landmarks.csv`.
        prepare: steps of the inference pipeline from a job to the network's grid.
        settings: what the measurements depend on beside the files, ready for JSON.

    Raises:
        InputError: if there are fewer than two scans, or landmarks are missing.
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

    digests = {name: [source_digest(scan.image), source_digest(scan.landmarks)] for name, scan in files.items()}
    return [
        Case(f"{fixed}_{moving}", _data([digests[fixed], digests[moving]], settings), partial(load, fixed, moving))
        for fixed, moving in permutations(people, 2)
    ]


def validation_metrics(item: Item, method: Method, field: Tensor, labels: Sequence[int]) -> Metrics:
    """Metrics of a validation pair: those of an evaluation, and the inverse consistency, except for SyN.

    Args:
        item: the loaded pair.
        method: method that registered it.
        field: displacement field of the method, `(1, 3, X, Y, Z)`, voxels.
        labels: values of the labels to score.

    Returns:
        Means over the labels and landmarks. NDV is that where the moving image is above 0, as in LUMIR.
    """
    pair = score_inputs(item | {"pred": field[0]})
    metrics: dict[str, Tensor] = {}
    if "fixed_label" in pair and "moving_label" in pair:
        fixed, warped, moving = (pair[f"{which}_label"] for which in ("fixed", "warped", "moving"))
        metrics["dice"] = dice_per_label(fixed, warped, labels, moving)
        metrics["hd95"] = hd95_per_label(fixed, warped, labels, pair["spacing"], moving)
    metrics["ndv_percent"] = non_diffeomorphic_volume(field[0], pair["moving_mask"])
    metrics["sdlogj"] = sdlogj(field[0])
    metrics["lncc"] = lncc(pair["image"], field[0])
    if "fixed_keypoints" in pair and "moving_keypoints" in pair:
        metrics["tre"] = tre(field[0], pair["fixed_keypoints"], pair["moving_keypoints"], pair["spacing"])
    if method.kind not in SYN:  # SyN has its own inverse, exact by construction
        back = method.field(item["image"][None].flip(1), item["grid"].affine)
        metrics["inverse_consistency_mm"] = _lengths_mm(item, compose(back, field))
    return {name: float(values.nanmean()) for name, values in metrics.items()}


def rescan_metrics(item: Item, method: Method, field: Tensor) -> Metrics:
    """Metric of a rescan: mean displacement between two scans of a brain, mm; arguments as in `validation_metrics`."""
    return {"displacement_mm": float(_lengths_mm(item, field).mean())}


def landmark_metrics(item: Item, method: Method, field: Tensor) -> Metrics:
    """Metric of a raw pair: TRE after affine alignment and field, mm; arguments as in `validation_metrics`."""
    pair = item["pair"]
    registration = fuse(advanced(PredictedPair, pair, seen=pair.image, field=field[0], device="cpu"))
    return {"tre": landmark_error(registration)["tre"]}


def _studies(
    config: ConfigParser, dataset_dir: str, landmarks_dir: str | None, count: int | None, methods: Sequence[Method]
) -> list[Study]:
    preprocessing = config.get_parsed_content("validate#preprocessing")
    labels = list(config.get_parsed_content("labels"))
    settings = {"preprocessing": config["validate#preprocessing"], "labels": labels}
    validation = dataset_cases(validation_pairs(dataset_dir)[:count], preprocessing, settings)
    measure = partial(validation_metrics, labels=labels)
    studies = [Study("validation", validation, methods, measure)]
    fast = [method for method in methods if method.kind != "syn_cc"]
    rescans = _rescans(dataset_dir)[:count]
    if rescans:
        studies.append(Study("rescan", dataset_cases(rescans, preprocessing, settings), fast, rescan_metrics))
    if landmarks_dir is not None:
        inference = ConfigParser(ConfigParser.load_config_file(INFERENCE))
        prepare = inference.get_parsed_content("preprocessing#step")
        cases = landmark_cases(landmarks_dir, prepare, {"preprocessing": inference["preprocessing"]})[:count]
        studies.append(Study("landmarks", cases, fast, landmark_metrics))
    return studies


def _data(digests: Any, settings: Mapping[str, Any]) -> str:
    """The `data` of a case. Another version of the bundle may align and measure otherwise."""
    return json_sha256([digests, settings, bundle_version()])


def _rescans(dataset_dir: str) -> list[dict[str, dict[str, str]]]:
    """Pairs of the dataset's section `rescan`; none if it has no such section."""
    try:
        return validation_pairs(dataset_dir, "rescan")
    except InputError:
        return []


def _warm_up(methods: Sequence[Method], item: Item) -> None:
    """Run each network once: its first pass takes longer than the others."""
    for method in methods:
        if method.kind in ("msfbnet", "voxelmorph"):
            _timed(method, item)


def _timed(method: Method, item: Item) -> tuple[Tensor, Metrics]:
    """The field of a method, and its wall clock seconds, CPU seconds of all threads and peak memory of the process."""
    image = item["image"][None]
    timings: dict[str, Metrics] = {}
    with timed(timings, method.name):
        cpu = time.process_time()
        field = method.field(image, item["grid"].affine)
        cpu = time.process_time() - cpu
    return field, timings[method.name] | {"cpu_seconds": cpu}


def _lengths_mm(item: Item, field: Tensor) -> Tensor:
    """Lengths of the field's vectors where the fixed image is above 0, mm."""
    spacing = torch.from_numpy(item["grid"].spacing).to(field.dtype)
    return torch.linalg.vector_norm(field[0] * spacing.view(3, 1, 1, 1), dim=0)[item["image"][0] > 0]
