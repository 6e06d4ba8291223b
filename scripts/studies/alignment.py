# SPDX-License-Identifier: Apache-2.0
"""How far a scan may be turned, shifted or scaled before its registration goes wrong, with and without an affine stage.

The moving scan's header is changed by a known affine map, and the result compared with that of its twin, the same pair
with the header as it was.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scripts.datasets import label_names, scale_intensity, validation_pairs
from scripts.evaluation.comparison import carry_out
from scripts.evaluation.comparison_table import Results
from scripts.evaluation.markdown import markdown_table, write_markdown
from scripts.evaluation.methods import Method
from scripts.evaluation.studies import Case, Study
from scripts.geometry import Affine, Field, Grid, Transform, as_field, resample, voxel_sizes
from scripts.io import nifti_image, read_configs, read_label, read_scan, scan_name
from scripts.metrics import dice_per_label
from scripts.registration import ROLES, ImageSources, Job, json_sha256, source_digest, start_registration
from scripts.report import Curve, band_chart, error_picture
from scripts.runtime import bundle_version, find_input_error
from scripts.studies.approaches import CONFIG, Found, make_approaches
from scripts.studies.curves import LIMIT_MM, breaking_point, curve, file_name

PAIRS: dict[str, int | None] = {"small": 3, "full": None}
# The misalignments, the amounts of each, and the one that is none.
AMOUNTS: dict[str, tuple[float, ...]] = {
    "turned (degrees)": (15, 30, 45, 60, 90, 135, 180),
    "shifted (mm)": (10, 20, 40, 60, 80, 100),
    "enlarged (times)": (1.2, 1.5, 2),
    "shrunk (times)": (1.2, 1.5, 2),
}
NONE = {"turned (degrees)": 0.0, "shifted (mm)": 0.0, "enlarged (times)": 1.0, "shrunk (times)": 1.0}
TWIN = ("as it is", 0.0)
OBLIQUE = np.ones(3) / np.sqrt(3)  # the axis of the rotation, and the direction of the translation
POINTS = 20_000  # number of points of the fixed brain at which transforms are compared

Matrix = NDArray[np.float64]
Row = dict[str, Any]


class Scan(NamedTuple):
    """A scan and its label map.

    Attributes:
        image: `(X, Y, Z)` float32.
        label: `(X, Y, Z)` int32.
        affine: `(4, 4)`, voxel to RAS mm.
    """

    image: NDArray[np.float32]
    label: NDArray[np.int32]
    affine: Matrix


class Pair(NamedTuple):
    """A pair.

    Attributes:
        fixed: fixed scan.
        moving: moving scan.
    """

    fixed: Scan
    moving: Scan

    def moved_by(self, matrix: Matrix) -> "Pair":
        """The pair with the moving scan's world moved by an affine map, `(4, 4)`, RAS mm."""
        return self._replace(moving=self.moving._replace(affine=matrix @ self.moving.affine))

    def job(self) -> Job:
        """The pair as `register` takes it."""
        fixed, moving = (ImageSources(image=nifti_image(scan.image, scan.affine)) for scan in self)
        return Job(name="pair", folder="", fixed=fixed, moving=moving)

    def points(self, transform: Transform) -> NDArray[np.float64]:
        """Where a transform takes points of the fixed brain in the moving scan, `(N, 3)`, voxels."""
        voxels = np.argwhere(self.fixed.image > 0).astype(np.float64)
        points = Affine(self.fixed.affine)(voxels[:: max(1, len(voxels) // POINTS)])
        return Affine(np.linalg.inv(self.moving.affine))(transform(points))


def study_alignment(
    dataset_dir: str,
    output_dir: str,
    size: str = "small",
    weights: str = "models/model.pt",
    methods: str = "msfbnet,refined,syn",
    threads: int | None = None,
) -> None:
    """Register pairs whose moving scan is turned, shifted or scaled, and write `alignment.csv`, `.md` and `.png`.

    A row of the CSV is written as soon as it is measured; the same call again measures what is missing. For each method
    that breaks there is a picture of its first case. Everything runs on the CPU.

    Args:
        dataset_dir: Learn2Reg dataset with labels.
        output_dir: folder for the results.
        size: a name in `PAIRS`.
        weights: weights files of the network, see `make_methods`.
        methods: with commas between: `msfbnet`, as `register` with and without its affine stage; `refined`, with
            `--refine 30`; `syn`, ANTs' SyN after its own affine stage.
        threads: number of CPU threads, from 1; None leaves it to torch, SimpleITK and ANTs.

    Raises:
        InputError: if a file or an argument is bad.
    """
    start_registration(output_dir, 0, threads)
    out, labels = Path(output_dir), list(label_names(dataset_dir))
    approaches = {approach.method.name: approach for approach in make_approaches(methods.split(","), weights, threads)}
    compared = [approach.method for approach in approaches.values()]
    files = validation_pairs(dataset_dir)[: PAIRS[size]]
    names = ["_".join(scan_name(pair[role]["image"]) for role in ROLES) for pair in files]
    settings = [read_configs(CONFIG)["preprocessing"], labels, bundle_version()]
    data = {
        name: json_sha256([[source_digest(path) for role in ROLES for path in pair[role].values()], settings])
        for name, pair in zip(names, files, strict=True)
    }

    @lru_cache(maxsize=1)
    def pair_of(index: int) -> Pair:
        return Pair(*(_read(files[index][role]) for role in ROLES))

    @lru_cache(maxsize=len(compared))
    def twin_of(index: int, name: str) -> NDArray[np.float64]:
        pair = pair_of(index)
        return pair.points(approaches[name].register(pair.job()).transform)

    def load(index: int, kind: str, amount: float) -> dict[str, Any]:
        pair = pair_of(index)
        moved = pair.moved_by(_misalignment(kind, amount, pair.moving))
        spacing = voxel_sizes(pair.moving.affine)
        title = _shown(names[index], kind, amount)
        known = {"title": title, "pair": moved, "job": moved.job(), "amount": amount, "spacing_mm": spacing}
        return known | {"twin": partial(twin_of, index)}

    def register(item: dict[str, Any], method: Method) -> Found | None:
        try:
            return approaches[method.name].register(item["job"])
        except Exception as error:
            if find_input_error(error) is None:
                raise
            return None

    misalignments = [TWIN, *((kind, float(amount)) for kind, amounts in AMOUNTS.items() for amount in amounts)]
    cases = [
        Case(_shown(names[index], *misalignment), data[names[index]], partial(load, index, *misalignment))
        for index, misalignment in product(range(len(files)), misalignments)
    ]
    results = Results(out / "alignment.csv")
    carry_out(Study("alignment", cases, compared, partial(measure, labels=labels, folder=out), register), results)
    write_curves(out, results, compared, data)


def measure(
    item: dict[str, Any], method: Method, found: Found | None, labels: Sequence[int], folder: Path
) -> dict[str, float]:
    """Compare the result of a misaligned pair with its twin's, and draw the first one of a method that breaks.

    Args:
        item: the loaded case.
        method: method that registered it.
        found: what it found; None if it refused the pair.
        labels: values of the labels to score.
        folder: folder for the picture, `breaks_METHOD.png`.

    Returns:
        `amount` of the misalignment; `refused`, 1 or 0; `distance_mm` and `dice`, NaN if it was refused; otherwise
        also `dice_before`, after the affine part alone, and figures of the method.
    """
    if found is None:
        return {"amount": item["amount"], "refused": 1.0, "distance_mm": float("nan"), "dice": float("nan")}
    pair: Pair = item["pair"]
    offsets = (pair.points(found.transform) - item["twin"](method.name)) * item["spacing_mm"]
    distance = float(np.linalg.norm(offsets, axis=1).mean())
    warp = as_field(found.transform, Grid(pair.fixed.image.shape, pair.fixed.affine))
    picture = folder / f"breaks_{file_name(method.name)}.png"
    if distance > LIMIT_MM and not picture.exists():
        _draw(picture, f"{item['title']}, {method.name}: {distance:.1f} mm from the twin", pair, warp)
    dice, before = (_dice(pair, transform, labels) for transform in (warp, found.affine))
    row = {"amount": item["amount"], "refused": 0.0, "distance_mm": distance, "dice": dice, "dice_before": before}
    return row | found.figures


def _dice(pair: Pair, transform: Transform, labels: Sequence[int]) -> float:
    """Mean Dice of the labels with the moving label map pulled back."""
    grid = Grid(pair.fixed.image.shape, pair.fixed.affine)
    moved = resample(pair.moving.label, pair.moving.affine, grid, transform, "nearest")
    fixed_label, moved_label, moving_label = map(torch.from_numpy, (pair.fixed.label, moved, pair.moving.label))
    return float(dice_per_label(fixed_label, moved_label, labels, moving_label).nanmean())


def write_curves(folder: Path, results: Results, methods: Sequence[Method], data: dict[str, str]) -> None:
    """Write the table, with the points where the methods break, and the figure.

    Args:
        folder: folder of the files.
        results: the measured rows.
        methods: the methods to show.
        data: name of each pair, and the data of its rows.
    """
    panels: dict[str, dict[str, Curve]] = {}
    sections = []
    for kind, amounts in AMOUNTS.items():
        distances, dices, rows = {}, {}, []
        for method in methods:
            found = {
                amount: _rows(results, method, data, *(TWIN if amount == NONE[kind] else (kind, amount)))
                for amount in (NONE[kind], *amounts)
            }
            name = method.name
            distances[name] = curve({place: [row["distance_mm"] for row in at] for place, at in found.items()})
            dices[name] = curve({place: [row["dice"] for row in at] for place, at in found.items()})
            rows.append([name, *(_cell(at) for at in found.values()), breaking_point(distances[name])])
        panels[f"{kind}: distance from the twin (mm)"], panels[f"{kind}: Dice"] = distances, dices
        header = ["method", *(f"{amount:g}" for amount in (NONE[kind], *amounts)), f"above {LIMIT_MM:g} mm from"]
        sections.append(f"## The moving scan is {kind}\n\n{markdown_table(header, rows)}")
    text = f"""# Misaligned scans

{len(data)} validation pairs. The header of the moving scan is changed by a known affine map: turned about an oblique
axis through the brain's center, shifted along it, or scaled about that center. Mean distance (mm) in the fixed brain
from where the same method takes the pair with its header as it was; in brackets the mean Dice, and in how many pairs
`register` was content (verdict pass or look) or refused to register. The last column: where the mean distance first
exceeds {LIMIT_MM:g} mm, by linear interpolation.

"""
    band_chart(folder / "alignment.png", panels, "misalignment, in the unit of the title")
    write_markdown(folder / "alignment.md", text + "\n".join(sections))


def _shown(name: str, kind: str, amount: float) -> str:
    """Name of a case: the pair, and what was done to it."""
    return f"{name} {kind} {amount:g}"


def _misalignment(kind: str, amount: float, scan: Scan) -> Matrix:
    """The affine map, RAS mm, that a scan's world is moved by."""
    center = Affine(scan.affine)(np.argwhere(scan.image > 0).mean(axis=0, keepdims=True))[0]
    matrix = np.eye(4)
    if kind.startswith("turned"):
        matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(amount) * OBLIQUE).as_matrix()
    elif kind.startswith(("enlarged", "shrunk")):
        matrix[:3, :3] *= amount if kind.startswith("enlarged") else 1 / amount
    matrix[:3, 3] = center - matrix[:3, :3] @ center
    if kind.startswith("shifted"):
        matrix[:3, 3] += amount * OBLIQUE
    return matrix


def _read(files: dict[str, str]) -> Scan:
    scan = read_scan(files["image"])
    return Scan(scan.array, read_label(files["label"], scan).array.astype(np.int32), scan.affine)


def _draw(path: Path, title: str, pair: Pair, warp: Field) -> None:
    """A picture of a pair and its registration."""
    moving = (resample(pair.moving.image, pair.moving.affine, warp.grid, way) for way in (None, warp))
    error_picture(path, title, np.stack([scale_intensity(image) for image in (pair.fixed.image, *moving)]))


def _rows(results: Results, method: Method, data: dict[str, str], kind: str, amount: float) -> list[Row]:
    """The rows of a method for one misalignment of all pairs."""
    wanted = {(_shown(name, kind, amount), digest) for name, digest in data.items()}
    key = (method.name, method.weights, method.network)
    return [
        row
        for row in results.rows
        if (row["pair"], row["data"]) in wanted and (row["method"], row["weights"], row["network"]) == key
    ]


def _cell(rows: Sequence[Row]) -> str:
    """Distance, Dice, and what `register` said."""
    measured = [row for row in rows if not row["refused"]]
    said = f", {len(rows) - len(measured)} refused" if len(measured) < len(rows) else ""
    if not measured:
        return said.removeprefix(", ") or "–"
    if "content" in measured[0]:
        said = f", {sum(int(row['content']) for row in measured)} content{said}"
    distance, dice = (np.mean([row[name] for row in measured]) for name in ("distance_mm", "dice"))
    return f"{distance:.2f} ({dice:.3f}{said})"
