# SPDX-License-Identifier: Apache-2.0
"""Point lists of 3D Slicer in its Markups JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.io import read_points, write_points

POINTS = [  # LPS
    {"id": "1", "label": "AC", "position": [-1.5, 2.0, 3.25], "positionStatus": "defined"},
    {"id": "2", "label": "PC", "position": [4, 5, 6]},
]
RAS = [[1.5, -2.0, 3.25], [-4.0, -5.0, 6.0]]


@pytest.fixture
def markups(tmp_path: Path) -> Callable[..., Path]:
    """`markups(coordinateSystem="RAS")`: a point list, with this of it replaced; None leaves an entry out."""

    def write(**changed: Any) -> Path:
        whole = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": POINTS}
        markup = {name: value for name, value in (whole | changed).items() if value is not None}
        schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
        path = tmp_path / "points.mrk.json"
        path.write_text(json.dumps({"@schema": f"{schema}markups-schema-v1.0.3.json#", "markups": [markup]}))
        return path

    return write


@pytest.mark.parametrize(
    ("changed", "ras"),
    [
        ({}, True),
        ({"coordinateSystem": None, "coordinateUnits": None}, True),  # 3D Slicer takes LPS and mm
        ({"coordinateUnits": ["mm", "UCUM", "millimeter"]}, True),
        ({"type": None, "name": "F", "locked": False, "measurements": []}, True),
        ({"coordinateSystem": "RAS"}, False),
    ],
)
def test_positions_are_in_the_space_that_the_file_says(markups: Callable, changed: dict[str, Any], ras: bool) -> None:
    points = read_points(markups(**changed))
    assert points.names == ["AC", "PC"]
    assert points.named
    assert points.warnings == ()
    np.testing.assert_array_equal(points.positions, RAS if ras else [point["position"] for point in POINTS])


def test_byte_order_mark_and_another_ending_do_not_matter(markups: Callable, tmp_path: Path) -> None:
    (tmp_path / "points.json").write_bytes(b"\xef\xbb\xbf" + markups().read_bytes())
    np.testing.assert_array_equal(read_points(tmp_path / "points.json").positions, RAS)


@pytest.mark.parametrize(
    "point",
    [
        {"label": "LE", "position": [0.0, 0.0, 0.0], "positionStatus": "undefined"},
        {"label": "LE", "positionStatus": "undefined"},
        {"label": "LE", "position": [7, 8, 9], "positionStatus": "preview"},
        {"label": "LE", "position": [7, 8, 9], "positionStatus": "missing"},
    ],
)
def test_points_that_were_not_placed_are_left_out_with_a_word(markups: Callable, point: dict[str, Any]) -> None:
    points = read_points(markups(controlPoints=[POINTS[0], point, POINTS[1]]))
    assert points.names == ["AC", "PC"]
    np.testing.assert_array_equal(points.positions, RAS)
    assert points.warnings == ("1 of 3 landmarks left out, as they were not placed in 3D Slicer (positionStatus)",)


def test_labels_that_are_all_empty_are_no_names(markups: Callable) -> None:
    points = read_points(markups(controlPoints=[point | {"label": ""} for point in POINTS]))
    assert not points.named
    assert points.names == ["1", "2"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"coordinateSystem": "IJK"}, ["positions in IJK"]),
        ({"coordinateUnits": "um"}, ["positions in um", "mm"]),
        ({"coordinateUnits": ["um", "UCUM", "micrometer"]}, ["positions in um"]),
        ({"type": "Curve"}, ["holds Curve, not one point list"]),
        ({"controlPoints": []}, ["no point of its list has a position"]),
        ({"controlPoints": None}, ["no point of its list has a position"]),
        ({"controlPoints": [{"label": "AC", "positionStatus": "undefined"}]}, ["no point of its list has a position"]),
        ({"controlPoints": [{"label": "AC"}]}, ["point 1 is at None"]),
        ({"controlPoints": [POINTS[0], {"label": "PC", "position": [1, 2]}]}, ["point 2 is at [1, 2]"]),
        ({"controlPoints": [{"label": "AC", "position": [1, 2, float("nan")]}]}, ["point 1 is at [1, 2, nan]"]),
    ],
)
def test_bad_list_is_one_line(markups: Callable, refused: Callable, changed: dict[str, Any], words: list[str]) -> None:
    path = markups(**changed)
    with refused(f"{path}: ", *words):
        read_points(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"markups": [{"type": "Fiducial"}, {"type": "Line"}]}', "holds Fiducial, Line, not one point list"),
        ('{"shapes": []}', "holds no 'markups'"),
        ('{"markups": 5}', "holds no 'markups'"),
        ('{"markups": [', "not a JSON file"),
    ],
)
def test_other_json_is_one_line(tmp_path: Path, refused: Callable, text: str, words: str) -> None:
    (tmp_path / "points.mrk.json").write_text(text)
    with refused("points.mrk.json: ", words):
        read_points(tmp_path / "points.mrk.json")


def test_space_that_the_file_contradicts_is_refused(markups: Callable, refused: Callable) -> None:
    with refused("holds LPS positions", "not RAS"):
        read_points(markups(), "ras")
    np.testing.assert_array_equal(read_points(markups(), "lps").positions, RAS)


def test_what_is_written_is_csv(markups: Callable, tmp_path: Path) -> None:
    write_points(tmp_path / "out.csv", read_points(markups()))
    assert (tmp_path / "out.csv").read_text().splitlines()[:2] == [
        "name,x_ras_mm,y_ras_mm,z_ras_mm",
        "AC,1.500000,-2.000000,3.250000",
    ]
