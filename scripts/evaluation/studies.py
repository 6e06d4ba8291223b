# SPDX-License-Identifier: Apache-2.0
"""The studies of a comparison: their pairs, and what is measured of a method's field.

Three kinds: the validation pairs of a dataset; its rescans, one person scanned twice; and a list of raw pairs, which
are prepared by the inference pipeline.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.bundle import ConfigParser
from monai.utils import convert_to_tensor
from torch import Tensor

from scripts.datasets import PairDataset, validation_pairs
from scripts.evaluation.methods import OURS, Method
from scripts.evaluation.peers import PEERS
from scripts.evaluation.scoring import score_inputs
from scripts.geometry import Grid
from scripts.io import scan_name
from scripts.metrics import dice_per_label, hd95_per_label, lncc, non_diffeomorphic_volume, sdlogj, tre
from scripts.registration import (
    ROLES,
    Job,
    PredictedPair,
    PreparedPair,
    advanced,
    fuse,
    json_sha256,
    label_overlap,
    landmark_error,
    listed_jobs,
    regularity,
    reject_worse,
    similarity,
    source_digest,
    source_digests,
)
from scripts.runtime import InputError, bundle_version
from scripts.spatial import compose

INFERENCE = "configs/inference.json"
# Of a raw pair: those of metrics.json that are shown.
RAW_METRICS = ("dice", "hd95", "tre", "foreground_ndv_percent", "sdlogj", "lncc", "mutual_information")

Item = dict[str, Any]
Metrics = dict[str, float]


class Case(NamedTuple):
    """One pair of a study.

    Attributes:
        name: names of the fixed and the moving scan, joined by an underscore, or what the list of pairs says.
        data: SHA-256 of all that a measurement depends on beside the method: content of the pair's files, labels to
            score, preprocessing, version of the bundle.
        load: function that returns `image`, fixed and moving, `(2, X, Y, Z)` in [0, 1], its `grid`, and other inputs of
            the study's metrics.
    """

    name: str
    data: str
    load: Callable[[], Item]


def field_of_images(item: Item, method: Method) -> Tensor:
    """The field of a method, `(1, 3, X, Y, Z)`, voxels."""
    return method.field(item["image"][None], item["grid"].affine)


class Study(NamedTuple):
    """Pairs, methods, and the metrics that are measured.

    Attributes:
        name: name in the table.
        cases: the pairs.
        methods: the methods.
        measure: function of a loaded pair, a method and its result that returns metrics by name.
        register: function of a loaded pair and a method that returns the result; this is timed.
    """

    name: str
    cases: Sequence[Case]
    methods: Sequence[Method]
    measure: Callable[[Item, Method, Any], Metrics]
    register: Callable[[Item, Method], Any] = field_of_images


def dataset_studies(
    config: ConfigParser, dataset_dir: str, count: int | None, methods: Sequence[Method]
) -> list[Study]:
    """The studies of a dataset: its validation pairs and, if it has some, its rescans.

    Args:
        config: config of a training or evaluation of this dataset.
        dataset_dir: Learn2Reg dataset.
        count: number of pairs of each study; None for all.
        methods: the methods.
    """
    preprocessing = config.get_parsed_content("validate#preprocessing")
    labels = list(config.get_parsed_content("labels"))
    settings = {"preprocessing": config["validate#preprocessing"], "labels": labels}
    validation = dataset_cases(validation_pairs(dataset_dir)[:count], preprocessing, settings)
    studies = [Study("validation", validation, methods, partial(validation_metrics, labels=labels))]
    rescans = _rescans(dataset_dir)[:count]
    if rescans:
        studies.append(Study("rescan", dataset_cases(rescans, preprocessing, settings), methods, rescan_metrics))
    return studies


def raw_study(pairs: str, count: int | None, methods: Sequence[Method]) -> Study:
    """The study of a list of raw pairs, named after its file.

    Args:
        pairs: CSV or JSON file, as `register --pairs` reads it.
        count: number of pairs; None for all.
        methods: the methods.

    Raises:
        InputError: if the list is bad.
    """
    jobs = listed_jobs(pairs)[:count]
    inference = ConfigParser(ConfigParser.load_config_file(INFERENCE))
    prepare = inference.get_parsed_content("preprocessing#step")
    settings = {"preprocessing": inference["preprocessing"], "strip": inference.get_parsed_content("settings#strip")}
    cases = raw_cases(jobs, prepare, settings)
    return Study(f"raw {Path(pairs).stem}", cases, methods, raw_metrics, predicted_raw)


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


def raw_cases(jobs: Sequence[Job], prepare: Callable[[Job], PreparedPair], settings: Mapping[str, Any]) -> list[Case]:
    """Cases of raw pairs.

    Args:
        jobs: the pairs.
        prepare: steps of the inference pipeline from a job to the network's grid.
        settings: what the measurements depend on beside the files, ready for JSON.
    """

    def load(job: Job) -> Item:
        pair = prepare(job)
        return {"image": torch.from_numpy(pair.image), "grid": pair.grid, "pair": pair}

    digest = cache(source_digest)  # many pairs share a scan
    return [Case(job.name, _data(source_digests(job, digest), settings), partial(load, job)) for job in jobs]


def validation_metrics(item: Item, method: Method, field: Tensor, labels: Sequence[int]) -> Metrics:
    """Metrics of a validation pair: those of an evaluation, and the inverse consistency, except for other tools.

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
    if method.kind not in PEERS:  # they may take as many minutes again
        back = method.field(item["image"][None].flip(1), item["grid"].affine)
        metrics["inverse_consistency_mm"] = _lengths_mm(item, compose(back, field))
    return {name: float(values.nanmean()) for name, values in metrics.items()}


def rescan_metrics(item: Item, method: Method, field: Tensor) -> Metrics:
    """Metric of a rescan: mean displacement between two scans of a brain, mm; arguments as in `validation_metrics`."""
    return {"displacement_mm": float(_lengths_mm(item, field).mean())}


def predicted_raw(item: Item, method: Method) -> PredictedPair:
    """A raw pair with the field of a method; our network sees it as in `register`, others both images as they are."""
    pair = item["pair"]
    if method.predict is not None:
        return method.predict(pair)
    return advanced(PredictedPair, pair, inputs=(pair.image,), field=field_of_images(item, method)[0], device="cpu")


def raw_metrics(item: Item, method: Method, predicted: PredictedPair) -> Metrics:
    """Metrics of a raw pair after affine map and field, as `register` measures them.

    Args:
        item: the loaded pair.
        method: method that registered it. A deformation of ours that makes the images less alike is taken back, as in
            `register`; those of others are not.
        predicted: the pair with its field.

    Returns:
        `RAW_METRICS`, as far as there are labels and landmarks; for ours also `rejected`, 1 where the deformation was
        taken back, else 0.
    """
    registration = fuse(predicted)
    ours = method.kind in OURS
    if ours:
        registration = reject_worse(registration)
    found = dict(registration.similarity or similarity(registration)) | regularity(registration)
    found |= label_overlap(registration, None) | landmark_error(registration)
    metrics = {name: found[name] for name in RAW_METRICS if name in found}
    return metrics | ({"rejected": float(registration.rejected is not None)} if ours else {})


def _data(digests: Any, settings: Mapping[str, Any]) -> str:
    """The `data` of a case. Another version of the bundle may align and measure otherwise."""
    return json_sha256([digests, settings, bundle_version()])


def _rescans(dataset_dir: str) -> list[dict[str, dict[str, str]]]:
    """Pairs of the dataset's section `rescan`; none if it has no such section."""
    try:
        return validation_pairs(dataset_dir, "rescan")
    except InputError:
        return []


def _lengths_mm(item: Item, field: Tensor) -> Tensor:
    """Lengths of the field's vectors where the fixed image is above 0, mm."""
    spacing = torch.from_numpy(item["grid"].spacing).to(field.dtype)
    return torch.linalg.vector_norm(field[0] * spacing.view(3, 1, 1, 1), dim=0)[item["image"][0] > 0]
