# SPDX-License-Identifier: Apache-2.0
"""Points taken along by transforms."""

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scripts.registration.reuse import points
from scripts.runtime.errors import InputError
from tests.registration.examples import MATRIX, affine_file

NAMES = ["AC", "PC", "1003"]
POSITIONS = np.array([[1.0, 2.0, 3.0], [-4.0, 0.5, 2.0], [3.0, -5.0, 1.0]])


def save_points(path: Path, positions: np.ndarray = POSITIONS, names: list[str] = NAMES, space: str = "ras") -> str:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *[f"{axis}_{space}_mm" for axis in "xyz"]])
        writer.writerows([name, *row] for name, row in zip(names, positions.tolist(), strict=True))
    return str(path)


def read_table(path: Path) -> dict[str, list[str]]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def positions_of(path: Path, space: str = "ras") -> np.ndarray:
    table = read_table(path)
    return np.array([[float(cell) for cell in table[f"{axis}_{space}_mm"]] for axis in "xyz"]).T


def test_points_go_as_simpleitk_takes_them(folder: Path) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    both = f"{folder / 'warp.nii.gz'},{folder / 'affine.mat'}"
    points(both, save_points(folder / "p.csv"), str(folder / "q.csv"))
    affine = sitk.ReadTransform(str(folder / "affine.mat"))
    field = sitk.Cast(sitk.ReadImage(str(folder / "warp.nii.gz")), sitk.sitkVectorFloat64)
    warp = sitk.DisplacementFieldTransform(field)
    flip = np.array([-1, -1, 1])
    expected = [affine.TransformPoint(warp.TransformPoint((point * flip).tolist())) for point in POSITIONS]
    assert np.abs(positions_of(folder / "q.csv") - np.array(expected) * flip).max() < 1e-4
    assert read_table(folder / "q.csv")["name"] == NAMES


def test_inverse_brings_points_back(folder: Path) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    both = f"{folder / 'warp.nii.gz'},{folder / 'affine.mat'}"
    points(both, save_points(folder / "p.csv"), str(folder / "q.csv"))
    points(both, str(folder / "q.csv"), str(folder / "back.csv"), inverse=True)
    assert np.abs(positions_of(folder / "back.csv") - POSITIONS).max() < 1e-3
    assert np.abs(positions_of(folder / "q.csv") - POSITIONS).max() > 1


def test_lps_points_are_the_same_places(folder: Path) -> None:
    flip = np.array([-1, -1, 1])
    warp = str(folder / "warp.nii.gz")
    points(warp, save_points(folder / "p.csv"), str(folder / "q.csv"))
    points(warp, save_points(folder / "l.csv", POSITIONS * flip, space="lps"), str(folder / "m.csv"), space="lps")
    assert np.abs(positions_of(folder / "m.csv", "lps") * flip - positions_of(folder / "q.csv")).max() < 1e-5


def test_tre_of_known_points(folder: Path, capsys: pytest.CaptureFixture) -> None:
    start = save_points(folder / "p.csv")
    points(str(folder / "warp.nii.gz"), start, str(folder / "q.csv"))
    moved = positions_of(folder / "q.csv")
    capsys.readouterr()
    # 0, 3 and 5 mm off, in another order.
    target = save_points(folder / "t.csv", (moved + np.array([[0, 0, 0], [3, 0, 0], [0, 3, 4]]))[::-1], NAMES[::-1])
    points(str(folder / "warp.nii.gz"), start, str(folder / "q.csv"), to=target)
    table = read_table(folder / "q.csv")
    assert [float(cell) for cell in table["distance_mm"]] == pytest.approx([0, 3, 5], abs=1e-4)
    before = np.linalg.norm(positions_of(Path(target))[::-1] - POSITIONS, axis=1)
    assert [float(cell) for cell in table["distance_before_mm"]] == pytest.approx(before, abs=1e-4)
    printed = capsys.readouterr().out
    assert "TRE after: mean 2.667, median 3.000, max 5.000 mm, 3 of 3 landmarks" in printed
    assert f"TRE before: mean {before.mean():.3f}" in printed


def test_landmarks_without_partner_are_left_out(folder: Path, capsys: pytest.CaptureFixture) -> None:
    start = save_points(folder / "p.csv")
    target = save_points(folder / "t.csv", POSITIONS[1:2], NAMES[1:2])
    points(str(folder / "identity.nii.gz"), start, str(folder / "q.csv"), to=target)
    assert read_table(folder / "q.csv")["distance_mm"] == ["", "0.000000", ""]
    assert "1 of 3 landmarks" in capsys.readouterr().out


def test_landmarks_of_other_names_are_matched_by_row_if_as_many(folder: Path) -> None:
    start, warp = save_points(folder / "p.csv"), str(folder / "identity.nii.gz")
    points(warp, start, str(folder / "q.csv"), to=save_points(folder / "t.csv", POSITIONS, ["a", "b", "c"]))
    assert read_table(folder / "q.csv")["distance_mm"] == ["0.000000"] * 3
    with pytest.raises(InputError, match=r"t\.csv: 2 landmarks for 3"):
        points(warp, start, str(folder / "q.csv"), to=save_points(folder / "t.csv", POSITIONS[:2], ["a", "b"]))


@pytest.mark.parametrize(("output", "words"), [("p.csv", "overwrite"), ("t.csv", "overwrite"), ("q.txt", ".csv file")])
def test_points_go_into_a_file_of_their_own(folder: Path, output: str, words: str) -> None:
    start, target = save_points(folder / "p.csv"), save_points(folder / "t.csv")
    with pytest.raises(InputError, match=words):
        points(str(folder / "warp.nii.gz"), start, str(folder / output), to=target)
    assert np.array_equal(positions_of(folder / "p.csv"), POSITIONS)
