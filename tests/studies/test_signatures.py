# SPDX-License-Identifier: Apache-2.0
"""The study of signatures: limits and counts of cases whose answer is known."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.studies.signatures import best_limit, roc_curve, study_signatures

DEFORMED = ("pair", "method", "error_mm", "ndv_percent", "dice", "bias_mm")
MISALIGNED = ("pair", "method", "refused", "distance_mm", "foreground_ndv_percent", "dice")
# Three people; the broken ones fold more, agree less and are shifted more.
PEOPLE = [
    *((f"p{n} field 0 5 mm", "msfbnet model", 0.5, 0.001, 0.9, 0.1) for n in range(3)),
    *((f"p{n} field 0 20 mm", "refined model, 30 steps", 9.0, 0.5, 0.6, 4.0) for n in range(3)),
    ("p0 field 0 20 mm", "syn", 0.1, 0.9, 0.1, 9.0),  # not ours
]
PAIRS = [
    *((f"p{n}_p{n + 1} as it is 0", "msfbnet model", 0.0, 0.0, 0.002, 0.6) for n in range(2)),
    *((f"p{n}_p{n + 1} turned (degrees) 90", "msfbnet model, no affine", 0.0, 30.0, 0.004, 0.1) for n in range(2)),
    ("p0_p1 turned (degrees) 180", "msfbnet model", 1.0, float("nan"), float("nan"), float("nan")),  # refused
]


@pytest.fixture
def studies(tmp_path: Path) -> dict[str, str]:
    """The arguments of the study."""
    for name, header, rows in (("deformations", DEFORMED, PEOPLE), ("alignment", MISALIGNED, PAIRS)):
        (tmp_path / name).mkdir()
        with (tmp_path / name / f"{name}.csv").open("w", newline="") as file:
            keys = ("study", "weights", "network", "data")
            csv.writer(file).writerows([(*keys, *header), *((name, "", "", "", *row) for row in rows)])
    return {name: str(tmp_path / name) for name in ("deformations", "alignment")} | {"output_dir": str(tmp_path)}


def test_best_limit_is_the_largest_that_parts_best() -> None:
    scores = np.array([1.0, 2.0, 3.0, 7.0, 8.0, 9.0])
    broken = np.array([False, False, False, True, True, True])
    assert best_limit(scores, broken) == 3.0
    assert best_limit(scores, np.array([False, False, True, False, True, True])) == 7.0  # 2/3 of broken, no right ones
    assert best_limit(np.ones(4), np.array([True, False, True, False])) == 1.0


def test_area_below_the_curve_is_the_share_of_pairs_in_order() -> None:
    generator = np.random.default_rng(0)
    scores, broken = generator.integers(0, 20, 60).astype(float), generator.random(60) < 0.4
    curve = roc_curve(scores, broken)
    order = np.sign(scores[broken][:, None] - scores[~broken])
    assert np.trapezoid(curve.mean, curve.places) == pytest.approx(((order + 1) / 2).mean())


def test_counts_are_those_of_the_cases(studies: dict[str, str], tmp_path: Path) -> None:
    study_signatures(**studies)
    lines = (tmp_path / "signatures.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    rows = {(name, source): cells for name, source, *cells in table}
    # Right, broken, AUC, limit that fits, by the others' limits found and flagged, by the program's.
    assert rows["rough", "known deformations"][:6] == ["3", "3", "1.00", "0.001", "3 of 3", "0 of 3"]
    assert rows["rough", "known deformations"][7:] == ["3 of 3", "0 of 3"]
    assert rows["rough", "misaligned pairs"][7:] == ["0 of 2", "0 of 2"]
    assert rows["unmatched", "misaligned pairs"][:6] == ["2", "2", "1.00", "0.6", "2 of 2", "0 of 2"]
    assert rows["unmatched", "misaligned pairs"][7:] == ["2 of 2", "0 of 2"]
    assert rows["shifted", "known deformations"][7:] == ["3 of 3", "0 of 3"]
    assert ("unmatched", "known deformations") not in rows  # all that fold little are right
    with (tmp_path / "signatures.csv").open(newline="") as file:
        cases = {row["name"]: row for row in csv.DictReader(file)}
    assert len(cases) == 6 + 4
    assert cases["p1 field 0 20 mm, refined model, 30 steps"]["rough"] == "True"
    assert cases["p1_p2 turned (degrees) 90, msfbnet model, no affine"]["unmatched"] == "True"
    with Image.open(tmp_path / "signatures.png") as image:  # three panels in two columns: the last place is empty
        corner = np.asarray(image)[-image.height // 3 :, -image.width // 3 :]
    assert (corner == corner[0, 0]).all()


def test_a_study_that_has_not_run_is_named(studies: dict[str, str], tmp_path: Path, refused: Callable) -> None:
    (tmp_path / "alignment" / "alignment.csv").unlink()
    with refused("alignment.csv", "python -m scripts study alignment"):
        study_signatures(**studies)
    assert not (tmp_path / "signatures.md").exists()
