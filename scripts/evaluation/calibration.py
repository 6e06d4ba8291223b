# SPDX-License-Identifier: Apache-2.0
"""The calibration of `registration.estimate_quality`: where it says 0.8, how far off are the labels' borders?

Each pair is measured three times: with the network's field; with no field, as after the affine alignment alone; and
with the network's field disturbed by a smooth random one. So low values are calibrated as well as high ones.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from scripts.evaluation.markdown import markdown_table, write_markdown
from scripts.geometry import Affine, resample
from scripts.io import load_weights
from scripts.metrics import NOTHING, border_distances
from scripts.registration import (
    QUALITY_COEFFICIENTS,
    QUALITY_LIMIT,
    Job,
    PredictedPair,
    advanced,
    backward_field,
    evidence,
    fuse,
    predict,
    registration_jobs,
    start_registration,
)
from scripts.runtime import InputError
from scripts.spatial import compose, sample
from scripts.synthesis.deformation import random_displacement

INFERENCE = "configs/inference.json"
KINDS = ("network", "affine", "disturbed")
MEAN_DISTURBANCE = 10.0  # mm, at most
EVERY = 10  # of how many border voxels one is measured
ROUNDING = 1e-3  # mm, of distances between voxels
LEAST_PERCENT = 0.1  # of all borders: what fewer of them show is chance
_STEPS = 20  # of Newton's method, which needs about six


class Borders(NamedTuple):
    """Border voxels of one pair with one field.

    Attributes:
        kind: one of `KINDS`.
        scans: paths of the fixed and the moving image.
        evidence: `(N, 4)`, a constant 1 and the channels of `registration.evidence`.
        distances: `(N,)`, mm, see `metrics.border_distances`.
    """

    kind: str
    scans: frozenset[Any]
    evidence: NDArray[np.float64]
    distances: NDArray[np.float64]

    @property
    def near(self) -> NDArray[np.bool_]:
        """Whether each is at most `QUALITY_LIMIT` off."""
        return self.distances <= QUALITY_LIMIT + ROUNDING


def calibrate_quality(
    output_dir: str, dataset_dir: str | None = None, pairs: str | None = None, threads: int | None = None
) -> None:
    """Measure how far off borders of labels are where the quality has a value, and write `quality.md`.

    It has the coefficients that fit these pairs best, and a table with the coefficients of the program; and one in
    which those for each pair are fitted to the pairs that share no scan with it, if there are such.

    Args:
        output_dir: folder for the tables.
        dataset_dir: Learn2Reg dataset, whose validation pairs are measured.
        pairs: list of pairs with `fixed_label` and `moving_label`, see `registration_jobs`, instead of a dataset.
        threads: number of CPU threads, from 1.

    Raises:
        InputError: if a file or an argument is bad, or a label map is missing.
    """
    start_registration(output_dir, 0, threads)
    config = ConfigParser(ConfigParser.load_config_file(INFERENCE))
    config["dataset_dir"] = dataset_dir
    load_weights(config.get_parsed_content("network").eval(), config.get_parsed_content("weights"))
    jobs = registration_jobs(output_dir, {}, pairs, dataset_dir)
    measured = [borders for number, job in enumerate(jobs) for borders in _measured(job, config, number)]
    own = np.round(fitted(measured), 2)
    text = f"# Quality and borders\n\nCoefficients of these pairs: {', '.join(f'{value:.2f}' for value in own)}\n"
    text += f"\n## Coefficients of the program\n\n{_table(measured, [np.array(QUALITY_COEFFICIENTS)] * len(measured))}"
    others = [[other for other in measured if not other.scans & borders.scans] for borders in measured]
    if all(others):
        text += f"\n## Coefficients of other people's pairs\n\n{_table(measured, [fitted(rest) for rest in others])}"
    write_markdown(Path(output_dir) / "quality.md", text)


def fitted(measured: Sequence[Borders]) -> NDArray[np.float64]:
    """Coefficients of the logistic regression of `near` on the evidence, `(4,)`, by Newton's method."""
    evidence = np.concatenate([borders.evidence for borders in measured])
    near = np.concatenate([borders.near for borders in measured])
    coefficients = np.zeros(evidence.shape[1])
    for _ in range(_STEPS):
        found = expit(evidence @ coefficients)
        curvature = (evidence * (found * (1 - found))[:, None]).T @ evidence
        coefficients += np.linalg.solve(curvature, evidence.T @ (near - found))
    return coefficients


def _measured(job: Job, config: ConfigParser, seed: int) -> list[Borders]:
    """The borders of a pair with each of the three fields."""
    loaded = config.get_parsed_content("preprocessing#step")(job)
    if any(image.label is None for image in loaded.images):
        raise InputError(f"{job.name}: no label maps of both images; give fixed_label and moving_label")
    network, inferer, device = (config.get_parsed_content(name) for name in ("network", "inferer", "device"))
    pair = predict(loaded, network, inferer, device)
    generator = torch.Generator().manual_seed(seed)
    disturbance = random_displacement(pair.image.shape[1:], 1, MEAN_DISTURBANCE, generator, generator)
    fields: Mapping[str, Tensor] = {
        "network": pair.field,
        "affine": torch.zeros_like(pair.field),
        "disturbed": compose(pair.field[None], disturbance[None])[0],
    }
    labels, backward = config.get_parsed_content("labels"), backward_field(pair, network, inferer, device)
    found = [
        _borders(kind, advanced(PredictedPair, pair, field=field), backward, labels) for kind, field in fields.items()
    ]
    shown = ", ".join(f"{borders.kind} {borders.near.mean():.3f}" for borders in found)
    print(f"{job.name}: borders at most {QUALITY_LIMIT:g} mm off: {shown}", flush=True)
    return found


def _borders(kind: str, pair: PredictedPair, backward: Tensor, labels: Sequence[int] | None) -> Borders:
    fixed, moving = pair.images
    assert fixed.label is not None and moving.label is not None
    warped = resample(moving.label, moving.scan.affine, fixed.scan.grid, fuse(pair).warp, "nearest")
    counted = labels or [value for value in np.unique(fixed.label).tolist() if value != 0]
    voxels, distances = border_distances(fixed.label, warped, counted, fixed.scan.affine, EVERY)
    inside = fixed.foreground[tuple(voxels.T)]
    voxels, distances = voxels[inside], distances[inside]
    on_grid = Affine(np.linalg.inv(pair.grid.affine) @ fixed.scan.affine)(voxels.astype(np.float64))
    values = sample(torch.from_numpy(evidence(pair, backward)), torch.from_numpy(on_grid)).numpy().T
    scans = frozenset(str(image.scan.path) for image in pair.images)
    return Borders(kind, scans, np.hstack([np.ones((len(values), 1)), values]), distances)


def _table(measured: Sequence[Borders], coefficients: Sequence[NDArray[np.float64]]) -> str:
    """A row for each tenth of the quality, and one for all; columns for each kind of field."""
    rows = [[f"{low / 10:.1f} to {low / 10 + 0.1:.1f}"] for low in range(10)] + [["all"]]
    for kind in KINDS:
        chosen = [(borders, own) for borders, own in zip(measured, coefficients, strict=True) if borders.kind == kind]
        quality = np.concatenate([expit(borders.evidence @ own) for borders, own in chosen])
        near = np.concatenate([borders.near for borders, _ in chosen])
        distances = np.concatenate([borders.distances for borders, _ in chosen])
        tenths = (10 * quality).astype(int)
        for low, row in enumerate(rows[:-1]):
            there = tenths == low
            row += _cells(100 * there.mean(), near[there], distances[there])
        rows[-1] += _cells(100, near, distances)
        rows[-1][-2] += f" (says {quality.mean():.2f})"
    titles = ("borders (%)", f"at most {QUALITY_LIMIT:g} mm off", "mean distance (mm)")
    return markdown_table(["it says", *(f"{kind}: {title}" for kind in KINDS for title in titles)], rows)


def _cells(percent: float, near: NDArray[np.bool_], distances: NDArray[np.float64]) -> list[str]:
    if percent < LEAST_PERCENT:
        return [NOTHING] * 3
    return [f"{percent:.1f}", f"{near.mean():.2f}", f"{distances.mean():.2f}"]
