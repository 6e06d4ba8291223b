# SPDX-License-Identifier: Apache-2.0
"""How exact registrations are as the deformation grows: brains warped by known fields.

Both scans of a pair are of one person, the moving one being the fixed one warped: there is an exact answer, and no
difference of anatomy, contrast or noise.
"""

import json
from collections.abc import Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.utils import convert_to_tensor
from torch import Tensor

from scripts.datasets import PairDataset, validation_pairs
from scripts.evaluation.comparison import carry_out
from scripts.evaluation.comparison_table import Results
from scripts.evaluation.markdown import markdown_table, write_markdown
from scripts.evaluation.methods import Method, make_methods
from scripts.evaluation.studies import Case, Study
from scripts.geometry import Grid
from scripts.io import read_configs, scan_name
from scripts.metrics import METRICS, dice_per_label, lncc, non_diffeomorphic_volume, sdlogj
from scripts.registration import json_sha256, source_digest, start_registration
from scripts.report import Curve, band_chart, error_picture
from scripts.runtime import bundle_version, supports_bf16
from scripts.spatial import warp
from scripts.studies.curves import LIMIT_MM, breaking_point, curve, file_name
from scripts.studies.known_fields import known_field, lengths_mm, remainder_mm

CONFIG = "configs/train.json"
LENGTHS = (2, 5, 10, 15, 20, 30, 40)  # mean displacement inside the brain, mm
REFINE = 30
DEFAULT_METHODS = ("affine", "syn", "greedy", "voxelmorph", "msfbnet", "refined")
SHOWN = {
    "error_mm": "error, mean (mm)",
    "error_p95_mm": "error, 95th percentile (mm)",
    "dice": "Dice",
    "ndv_percent": "NDV in the brain (%)",
}


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        people: number of people, from 1; None for all of the validation pairs.
        fields: number of velocity fields for each of them.
    """

    people: int | None
    fields: int


SIZES = {"small": Size(3, 1), "full": Size(None, 3)}


def study_deformations(
    dataset_dir: str,
    output_dir: str,
    size: str = "small",
    weights: str = "models/model.pt",
    baseline_weights: str | None = None,
    methods: str | None = None,
    threads: int | None = None,
) -> None:
    """Register brains that are warped by known fields, and write `deformations.csv`, `.md` and `.png`.

    A row of the CSV is written as soon as it is measured; the same call again measures what is missing. For each method
    that breaks there is a picture of the first person where it does first. Everything runs on the CPU.

    Args:
        dataset_dir: Learn2Reg dataset with labels.
        output_dir: folder for the results.
        size: a name in `SIZES`.
        weights: weights files of the network, see `make_methods`.
        baseline_weights: weights files of baselines, see `make_methods`.
        methods: names of the methods, with commas between; by default `DEFAULT_METHODS`.
        threads: number of CPU threads, from 1; None leaves it to torch and to the methods.

    Raises:
        InputError: if a file or an argument is bad.
    """
    start_registration(output_dir, 0, threads)
    out = Path(output_dir)
    config = read_configs(CONFIG)
    config["dataset_dir"] = dataset_dir
    bf16 = supports_bf16("cpu")
    definition = json.dumps({**config["network_def"], "bf16": bf16})
    kinds = methods.split(",") if methods else DEFAULT_METHODS
    network = config.get_parsed_content("network_def")
    compared = make_methods(kinds, network, definition, weights, baseline_weights, REFINE, threads, bf16)
    labels = list(config.get_parsed_content("labels"))
    settings = [config["validate#preprocessing"], labels, bundle_version()]
    cases = _cases(dataset_dir, config.get_parsed_content("validate#preprocessing"), SIZES[size], settings)
    results = Results(out / "deformations.csv")
    carry_out(Study("deformations", cases, compared, partial(measure, labels=labels, folder=out)), results)
    write_curves(out, results, compared, cases)


def measure(
    item: dict[str, Any], method: Method, field: Tensor, labels: Sequence[int], folder: Path
) -> dict[str, float]:
    """Compare a field with the known one, and draw the first one of a method that breaks.

    Args:
        item: the loaded case.
        method: method that registered it.
        field: its field, `(1, 3, X, Y, Z)`, voxels.
        labels: values of the labels to score.
        folder: folder for the picture, `breaks_METHOD.png`.

    Returns:
        `length_mm`, what was aimed at; `displacement_mm`, the mean length of the known field in the brain;
        `truth_error_mm`, see `remainder_mm`; `error_mm` and `error_p95_mm` in the brain, `dice`, `ndv_percent` in the
        brain; and, not shown, `bias_mm`, the length of the mean error in the brain, `sdlogj` and `lncc`.
    """
    brain, spacing = item["image"][0] > 0, item["grid"].spacing.tolist()
    error = field - item["truth"]
    errors = lengths_mm(error, brain, spacing)
    moved_label = warp(item["moving_label"][None], field, mode="nearest")[0]
    picture = folder / f"breaks_{file_name(method.name)}.png"
    if errors.mean() > LIMIT_MM and item["is_first"] and not picture.exists():
        lengths = torch.zeros(brain.shape).masked_scatter(brain, errors)
        moved = warp(item["image"][None, 1:], field)[0]
        title = f"{method.name}, {item['length_mm']:g} mm: mean error {errors.mean():.1f} mm"
        error_picture(picture, title, torch.cat([item["image"], moved]).numpy(), lengths.numpy())
    return {
        "length_mm": item["length_mm"],
        "displacement_mm": float(lengths_mm(item["truth"], brain, spacing).mean()),
        "truth_error_mm": item["truth_error_mm"],
        "error_mm": float(errors.mean()),
        "error_p95_mm": float(errors.quantile(0.95)),
        "bias_mm": float(torch.linalg.vector_norm(error[0, :, brain].mean(dim=1) * torch.tensor(spacing))),
        "dice": float(dice_per_label(item["fixed_label"], moved_label, labels, item["moving_label"]).nanmean()),
        "ndv_percent": float(non_diffeomorphic_volume(field[0], brain)),
        "sdlogj": float(sdlogj(field[0])),
        "lncc": float(lncc(item["image"], field[0])),
    }


def write_curves(folder: Path, results: Results, methods: Sequence[Method], cases: Sequence[Case]) -> None:
    """Write the table, with the points where the methods break, and the figure.

    Args:
        folder: folder of the files.
        results: the measured rows.
        methods: the methods to show.
        cases: the cases to show.
    """
    curves: dict[str, dict[str, Curve]] = {name: {} for name in SHOWN}
    wanted = {(case.name, case.data) for case in cases}
    for method in methods:
        rows = [
            row
            for row in results.rows
            if (row["pair"], row["data"]) in wanted
            and (row["method"], row["weights"], row["network"]) == (method.name, method.weights, method.network)
        ]
        for name in SHOWN:
            values = {float(n): [row[name] for row in rows if row["length_mm"] == n] for n in LENGTHS}
            curves[name][method.name] = curve(values)
    header = ["method", *(f"{length} mm" for length in LENGTHS)]
    tables = [
        f"## {SHOWN[name]}\n\n" + markdown_table(header, [_cells(method, found, name) for method, found in by.items()])
        for name, by in curves.items()
    ]
    breaks = [[method, breaking_point(errors)] for method, errors in curves["error_mm"].items()]
    title = f"mean displacement (mm) where the mean error exceeds {LIMIT_MM:g} mm"
    text = f"""# Known deformations of growing length

{len(cases) // len(LENGTHS)} brains, each warped by smooth diffeomorphic fields of these mean lengths inside the brain.
Both scans of a pair are of one person: no difference of anatomy, contrast or noise. Mean ± half the width of the 95 %
confidence interval (Student's t) over the brains; errors against the known field inside the brain.

{markdown_table(["method", title], breaks)}
"""
    band_chart(folder / "deformations.png", {SHOWN[name]: by for name, by in curves.items()}, "mean displacement (mm)")
    write_markdown(folder / "deformations.md", text + "\n".join(tables))


def _cells(method: str, found: Curve, name: str) -> list[str]:
    form = METRICS[name].form if name in METRICS else ".2f"
    cells = dict.fromkeys(map(float, LENGTHS), "–")
    for place, mean, high in zip(found.places, found.mean, found.high, strict=True):
        cells[place] = f"{mean:{form}}" + (f" ± {high - mean:{form}}" if high == high else "")
    return [method, *cells.values()]


def _cases(dataset_dir: str, preprocessing: Any, size: Size, settings: Any) -> list[Case]:
    """The cases of each person and field, from the shortest field to the longest."""
    pairs = validation_pairs(dataset_dir)
    people = list({scan_name(pair["fixed"]["image"]): pair["fixed"] for pair in pairs}.items())[: size.people]
    dataset = cache(lambda: PairDataset([{"fixed": scan, "moving": scan} for _, scan in people], preprocessing))
    digests = [{kind: source_digest(path) for kind, path in scan.items()} for _, scan in people]

    def load(person: int, number: int, length: float) -> dict[str, Any]:
        item = dataset()[person]
        scan = convert_to_tensor(item["image"][:1], track_meta=False)
        label = convert_to_tensor(item["fixed_label"], track_meta=False)
        grid = Grid(tuple(scan.shape[1:]), item["image"].affine.double().numpy())
        brain, spacing = scan[0] > 0, grid.spacing.tolist()
        known = known_field(brain, length, spacing, seed=len(people) * number + person)
        return {
            "image": torch.cat([scan, warp(scan[None], known.inverse)[0]]),
            "grid": grid,
            "fixed_label": label,
            "moving_label": warp(label[None], known.inverse, mode="nearest")[0],
            "truth": known.field,
            "truth_error_mm": remainder_mm(known, brain, spacing),
            "length_mm": float(length),
            "is_first": person == number == 0,
        }

    return [
        Case(
            f"{people[person][0]} field {number} {length} mm",
            json_sha256([digests[person], settings, person, number, length]),
            partial(load, person, number, length),
        )
        for person, number, length in product(range(len(people)), range(size.fields), LENGTHS)
    ]
