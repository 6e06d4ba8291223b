# SPDX-License-Identifier: Apache-2.0
"""The study of misaligned scans: what is done to a scan, and that the distance from the twin is a known one."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from scripts.evaluation.methods import Method, affine_only
from scripts.geometry import Affine
from scripts.registration import Job
from scripts.runtime import InputError
from scripts.studies import alignment, approaches
from scripts.studies.alignment import Scan, study_alignment
from scripts.studies.approaches import Approach, Found

ROOT = Path(__file__).parents[2]
AFFINE = np.array([[-1.0, 0, 0, 20], [0, 2, 0, -30], [0, 0, 1, 5], [0, 0, 0, 1]])


@pytest.fixture
def scan() -> Scan:
    image = np.zeros((20, 22, 24), np.float32)
    image[5:15, 6:16, 7:17] = 1
    return Scan(image, image.astype(np.int32), AFFINE)


@pytest.mark.parametrize(
    ("kind", "amount", "trace", "length"),
    [
        ("turned (degrees)", 180, -1, 0),
        ("turned (degrees)", 90, 1, 0),
        ("shifted (mm)", 40, 3, 40),
        ("enlarged (times)", 2, 6, 0),
        ("shrunk (times)", 2, 1.5, 0),
        ("as it is", 0, 3, 0),
    ],
)
def test_misalignments_keep_the_center_or_shift_it(
    kind: str, amount: float, trace: float, length: float, scan: Scan
) -> None:
    matrix = alignment._misalignment(kind, amount, scan)
    center = Affine(AFFINE)(np.array([[9.5, 10.5, 11.5]]))
    assert np.trace(matrix[:3, :3]) == pytest.approx(trace)
    assert np.linalg.norm(Affine(matrix)(center) - center) == pytest.approx(length)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchanged_process: Callable) -> Iterator[Path]:
    """The study with a tiny network and few cases; the folder of its results."""
    config = json.loads((ROOT / approaches.CONFIG).read_text())
    config["network_def"] |= {"channels": [8, 8, 8]}
    (tmp_path / "inference.json").write_text(json.dumps(config | {"network_size": [1, 1, 1]}))
    for module in (alignment, approaches):
        monkeypatch.setattr(module, "CONFIG", str(tmp_path / "inference.json"))
    amounts = {"turned (degrees)": (), "shifted (mm)": (3,), "enlarged (times)": (), "shrunk (times)": (2,)}
    monkeypatch.setattr(alignment, "AMOUNTS", amounts)
    monkeypatch.setattr(alignment, "PAIRS", {"small": 1})
    with unchanged_process():
        yield tmp_path / "out"


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "alignment.csv").open(newline="") as file:
        return {f"{row['method']}: {' '.join(row['pair'].split()[1:])}": row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_a_shift_without_affine_stage_is_the_distance_from_the_twin(
    tiny: Path, small_dataset: Path, fresh_weights: Path
) -> None:
    """An untrained network moves nothing, so every point is off by the shift."""
    arguments = {"weights": str(fresh_weights), "methods": "msfbnet"}
    study_alignment(str(small_dataset), str(tiny), **arguments)
    rows = rows_of(tiny)
    name = "msfbnet fresh, no affine: "
    assert float(rows[f"{name}as it is 0"]["distance_mm"]) == pytest.approx(0, abs=1e-6)
    assert float(rows[f"{name}shifted (mm) 3"]["distance_mm"]) == pytest.approx(3, abs=0.05)
    assert float(rows[f"{name}shifted (mm) 3"]["dice"]) < float(rows[f"{name}as it is 0"]["dice"])
    shifted_row = rows[f"{name}shifted (mm) 3"]
    assert float(shifted_row["lncc"]) == pytest.approx(float(shifted_row["lncc_before"]), abs=1e-4)
    assert float(shifted_row["lncc"]) < float(rows[f"{name}as it is 0"]["lncc"])
    assert (tiny / "breaks_msfbnet_fresh_no_affine.png").read_bytes().startswith(b"\x89PNG")
    text = (tiny / "alignment.md").read_text()
    shifted = next(line for line in text.partition("is shifted")[2].splitlines() if ", no affine" in line)
    assert float(shifted.split("|")[-2]) == pytest.approx(2.0, abs=0.1)

    before = (tiny / "alignment.csv").read_bytes()
    study_alignment(str(small_dataset), str(tiny), **arguments)
    assert (tiny / "alignment.csv").read_bytes() == before


def test_what_is_refused_is_counted_and_goes_on(
    tiny: Path, small_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An approach that knows the header's shift by heart, and refuses a scan of another size."""

    def register(job: Job) -> Found:
        fixed, moving = (np.asarray(source.image.affine) for source in (job.fixed, job.moving))
        if abs(np.linalg.det(moving[:3, :3])) < 0.5:
            raise InputError("too small")
        return Found(Affine(moving @ np.linalg.inv(fixed)), Affine(np.eye(4)), {"content": 1.0})

    approach = Approach(Method("exact", "exact", "", "", affine_only), register)
    monkeypatch.setattr(alignment, "make_approaches", lambda *_: [approach])
    study_alignment(str(small_dataset), str(tiny))
    rows = rows_of(tiny)
    shifted = rows["exact: shifted (mm) 3"]
    assert float(shifted["distance_mm"]) == pytest.approx(0, abs=1e-6)
    assert float(shifted["dice_before"]) < float(shifted["dice"])
    assert rows["exact: shrunk (times) 2"]["refused"] == "1.0" and rows["exact: shrunk (times) 2"]["dice"] == "nan"
    text = (tiny / "alignment.md").read_text()
    assert "1 refused" in text and "1 content" in text and "nan" not in text
    assert not (tiny / "breaks_exact.png").exists()


def test_unknown_methods_are_refused(tiny: Path, small_dataset: Path, fresh_weights: Path, refused: Callable) -> None:
    with refused("--methods fnirt", "msfbnet,refined,syn"):
        study_alignment(str(small_dataset), str(tiny), weights=str(fresh_weights), methods="fnirt")
