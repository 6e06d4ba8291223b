# SPDX-License-Identifier: Apache-2.0
"""The study of known deformations: the fields are what they are said to be, and so are errors and breaking points."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.evaluation.methods import Method, affine_only
from scripts.geometry import Grid
from scripts.metrics import non_diffeomorphic_volume, sdlogj
from scripts.spatial import warp
from scripts.studies import deformations
from scripts.studies.curves import breaking_point, curve
from scripts.studies.deformations import Size, measure, study_deformations
from scripts.studies.known_fields import known_field, lengths_mm, remainder_mm

ROOT = Path(__file__).parents[2]
SPACING = (2.0, 1.5, 1.0)


@pytest.fixture(scope="module")
def brain() -> torch.Tensor:
    """An ellipsoid, `(28, 36, 32)`."""
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in (28, 36, 32)], indexing="ij")
    return sum(axis.square() for axis in axes) < 0.6


@pytest.mark.parametrize("length", [1.0, 6.0])
def test_a_known_field_has_its_length_its_inverse_and_no_fold(brain: torch.Tensor, length: float) -> None:
    known = known_field(brain, length, SPACING, seed=3)
    assert float(lengths_mm(known.field, brain, SPACING).mean()) == pytest.approx(length, rel=0.05)
    assert remainder_mm(known, brain, SPACING) < 0.03 * length
    everywhere = torch.ones_like(brain)
    assert [float(non_diffeomorphic_volume(field[0], everywhere)) for field in known] == [0, 0]
    # The moving scan is warped by the inverse; the field brings it back.
    scan = torch.nn.functional.avg_pool3d(brain[None, None].float(), 7, 1, 3)
    moved = warp(warp(scan, known.inverse), known.field)
    assert float((moved - scan).abs()[0, 0, brain].mean()) < 0.02


def test_seeds_have_fields_of_their_own(brain: torch.Tensor) -> None:
    first, again, other = (known_field(brain, 2.0, SPACING, seed).field for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert float(torch.nn.functional.cosine_similarity(first.flatten(), other.flatten(), dim=0)) < 0.7


@pytest.fixture
def item(brain: torch.Tensor) -> dict:
    known = known_field(brain, 4.0, SPACING, seed=0)
    scan, label = brain[None].float(), brain[None].int()
    return {
        "image": torch.cat([scan, warp(scan[None], known.inverse)[0]]),
        "grid": Grid(tuple(brain.shape), np.diag([*SPACING, 1.0])),
        "fixed_label": label,
        "moving_label": warp(label[None], known.inverse, mode="nearest")[0],
        "truth": known.field,
        "truth_error_mm": 0.0,
        "length_mm": 4.0,
        "is_first": True,
    }


def test_errors_are_those_against_the_known_field(item: dict, tmp_path: Path) -> None:
    method = Method("msfbnet", "msfbnet a, 2", "", "", affine_only)
    exact = measure(item, method, item["truth"], [1], tmp_path)
    assert exact["error_mm"] == exact["error_p95_mm"] == 0 and exact["dice"] > 0.95
    assert exact["sdlogj"] == pytest.approx(float(sdlogj(item["truth"][0])))
    assert list(tmp_path.iterdir()) == []

    shift = torch.tensor([3.0, 0.0, 0.0]).view(1, 3, 1, 1, 1)  # voxels of 2 mm
    shifted = measure(item, method, item["truth"] + shift, [1], tmp_path)
    assert shifted["error_mm"] == pytest.approx(6.0) and shifted["error_p95_mm"] == pytest.approx(6.0)
    assert shifted["bias_mm"] == pytest.approx(6.0)
    assert shifted["dice"] < exact["dice"] and shifted["lncc"] < exact["lncc"]
    assert shifted["sdlogj"] == pytest.approx(exact["sdlogj"])
    (picture,) = tmp_path.iterdir()
    assert picture.name == "breaks_msfbnet_a_2.png" and picture.read_bytes().startswith(b"\x89PNG")

    nothing = measure(item, method, torch.zeros_like(item["truth"]), [1], tmp_path)
    assert nothing["error_mm"] == pytest.approx(nothing["displacement_mm"])


@pytest.mark.parametrize(
    ("errors", "point"),
    [
        ([0.5, 1.0, 3.0, 1.0], "7.5"),
        ([3.0, 1.0, 1.0, 1.0], "below 2"),
        ([0.1, 0.2, 0.3, 2.0], "above 20"),
        ([float("nan"), 1.0, 3.0, 4.0], "7.5"),
    ],
)
def test_a_method_breaks_where_the_mean_error_first_exceeds_two_millimeters(errors: list[float], point: str) -> None:
    values = {place: [error] for place, error in zip((2, 5, 10, 20), errors, strict=True)}
    assert breaking_point(curve(values)) == point


def test_the_band_is_students_interval() -> None:
    found = curve({5.0: [1.0, 2.0, 3.0], 2.0: [1.0]})
    assert found.places.tolist() == [2, 5] and found.mean.tolist() == [1, 2]
    assert np.isnan(found.low[0])
    assert found.high[1] - 2 == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)  # t of 2 degrees of freedom


def test_rows_are_measured_once(
    small_dataset: Path,
    random_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unchanged_process: Callable,
    capsys: pytest.CaptureFixture,
) -> None:
    overlay = tmp_path / "small.yaml"
    overlay.write_text("network_def#channels: [8, 8, 8]\n")
    monkeypatch.setattr(deformations, "CONFIG", f"{ROOT / deformations.CONFIG},{overlay}")
    monkeypatch.setattr(deformations, "LENGTHS", (1, 3))
    monkeypatch.setattr(deformations, "SIZES", {"small": Size(2, 1)})
    out = tmp_path / "out"

    def run() -> str:
        with unchanged_process():
            study_deformations(str(small_dataset), str(out), weights=f"tiny={random_weights}", methods="affine,msfbnet")
        return (out / "deformations.csv").read_text()

    first = run()
    assert run() == first
    rows = list(csv.DictReader(first.splitlines()))
    assert [(row["method"], float(row["length_mm"])) for row in rows] == 2 * [
        ("affine", 1.0),
        ("msfbnet tiny", 1.0),
        ("affine", 3.0),
        ("msfbnet tiny", 3.0),
    ]
    for row in rows:
        if row["method"] == "affine":
            assert float(row["error_mm"]) == pytest.approx(float(row["length_mm"]), rel=0.1)
    text = (out / "deformations.md").read_text()
    breaks = next(line.split("|")[2] for line in text.splitlines() if line.startswith("| affine |"))
    assert float(breaks) == pytest.approx(2.0, rel=0.1)
    assert (out / "deformations.png").read_bytes().startswith(b"\x89PNG")
