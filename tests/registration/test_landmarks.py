# SPDX-License-Identifier: Apache-2.0
"""Which landmarks of two images are the same, in `register` and in `points` alike."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.io import Points, load_keypoints, read_points, save_affine
from scripts.registration import points, read_pair
from scripts.registration.landmarks import match_landmarks
from scripts.registration.pair import ImageSources, Job, LoadedPair

FILES = ("first.csv", "second.csv")


def named(names: Sequence[str]) -> Points:
    """Landmark i lies at i, 0, 0."""
    return Points(list(names), np.array([[row, 0.0, 0.0] for row in range(len(names))]))


def unnamed(count: int) -> Points:
    names = [str(row) for row in range(1, count + 1)]
    return Points(names, named(names).positions, named=False)


def partners(first: Points, second: Points) -> dict[int, int]:
    """Row of the second for each row of the first that has a partner."""
    matches = match_landmarks(first, second, FILES)
    return dict(zip(*(rows.tolist() for rows in matches.rows), strict=True))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (["AC", "PC", "LE"], ["LE", "AC", "PC"], {0: 1, 1: 2, 2: 0}),
        (["AC", "PC"], ["pc ", " Ac"], {0: 1, 1: 0}),
        (["left  LV", "right LV"], ["RIGHT_LV", "Left LV"], {0: 1}),  # an underscore is no blank
        (["fórnix", "PC"], ["PC", "fo\u0301rnix"], {0: 1, 1: 0}),  # one letter, or a letter and its accent
        (["AC", "PC", "LE"], ["PC"], {1: 0}),
        (["PC"], ["AC", "LE", "PC"], {0: 2}),
        (["3", "1", "2"], ["1", "2", "3"], {0: 2, 1: 0, 2: 1}),  # numbers that are no numbers of rows
        (["F-1", "F-2", "F-4"], ["F-1", "F-2", "F-3", "F-4"], {0: 0, 1: 1, 2: 3}),
        (["AC", "", "PC"], ["PC", "AC", ""], {0: 1, 2: 0}),
        (["AC", "x", "x"], ["PC", "AC"], {0: 1}),  # x is twice, but not in the other
    ],
)
def test_landmarks_of_one_name_are_the_same(first: list[str], second: list[str], expected: dict[int, int]) -> None:
    assert partners(named(first), named(second)) == expected
    assert partners(named(second), named(first)) == {two: one for one, two in expected.items()}
    matches = match_landmarks(named(first), named(second), FILES)
    assert matches.by == "name"
    assert [len(names) for names in matches.left_out] == [len(first) - len(expected), len(second) - len(expected)]


@pytest.mark.parametrize(
    ("first", "second", "warned"),
    [
        (unnamed(3), unnamed(3), False),
        (named(["AC", "PC", "LE"]), unnamed(3), False),
        (named(["3", "2", "1"]), unnamed(3), False),  # numbers given by row are no names
        (named(["1", "2", "3"]), named(["1", "2", "3"]), False),
        (named(["0", "1", "2"]), named(["1", "2", "3"]), False),
        (named(["AC", "PC", "LE"]), named(["a", "b", "c"]), True),
        (named(["left", "right", "left"]), named(["Left", "right", "left"]), False),
    ],
)
def test_landmarks_without_names_to_go_by_are_matched_by_row(first: Points, second: Points, warned: bool) -> None:
    matches = match_landmarks(first, second, FILES)
    assert matches.by == "row"
    assert partners(first, second) == {0: 0, 1: 1, 2: 2}
    assert bool(matches.warning) == warned


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (unnamed(3), unnamed(2), ["second.csv: 2 landmarks for 3 landmarks of first.csv", "no common names"]),
        (named(["AC", "PC", "LE"]), unnamed(2), ["2 landmarks for 3"]),
        (named(["AC", "PC", "LE"]), named(["a", "b"]), ["2 landmarks for 3"]),
        (named(["1", "2", "3"]), named(["1", "2"]), ["2 landmarks for 3"]),
        (named(["AC", "PC", "PC"]), named(["PC", "AC", "LE"]), ["first.csv: several landmarks are named PC"]),
        (named(["PC", "AC"]), named(["AC", "ac ", "PC"]), ["second.csv: several landmarks are named AC"]),
        (named(["x", "x", "AC"]), named(["x", "AC", "x"]), ["first.csv: several landmarks are named x"]),
    ],
)
def test_what_cannot_be_matched_is_refused(refused: Callable, first: Points, second: Points, words: list[str]) -> None:
    with refused(*words):
        match_landmarks(first, second, FILES)


# --- register ---------------------------------------------------------------------------------------------------------

POSITIONS = {"AC": (1.0, 2.0, 3.0), "PC": (4.0, 5.0, 6.0), "LE": (-7.0, 8.0, 9.0)}


@pytest.fixture
def loaded(tmp_path: Path, noise: Callable) -> Callable[..., LoadedPair]:
    """`loaded(fixed="name,x,y,z\\n...", moving=array)`: the pair as `register` reads it, landmarks as texts."""

    def read(**landmarks: str | np.ndarray) -> LoadedPair:
        sources = {}
        for role in ("fixed", "moving"):
            image, given = tmp_path / f"{role}.nii.gz", landmarks.get(role)
            nib.save(nib.Nifti1Image(noise(8, 9, 10), np.diag([2.0, 1, 1, 1])), image)
            if isinstance(given, str):
                path = tmp_path / f"{role}.csv"
                path.write_text(given)
                sources[role] = ImageSources(image=str(image), landmarks=str(path))
            else:
                sources[role] = ImageSources(image=str(image), landmarks=given)
        return read_pair(Job(name="pair", folder="", **sources), strip="no")

    return read


def table(*names: str) -> str:
    return "name,x,y,z\n" + "".join(f"{name},{','.join(map(str, POSITIONS[name.upper()]))}\n" for name in names)


def test_registered_landmarks_are_brought_into_one_order(loaded: Callable) -> None:
    pair = loaded(fixed=table("AC", "PC", "LE"), moving=table("le", "ac", "pc"))
    np.testing.assert_array_equal(pair.fixed.landmarks, list(POSITIONS.values()))
    np.testing.assert_array_equal(pair.moving.landmarks, pair.fixed.landmarks)
    assert pair.landmarks == {"matched_by": "name", "count": 3, "left_out": {"fixed": [], "moving": []}}
    assert pair.fixed.warnings == pair.moving.warnings == ()


def test_landmarks_that_one_image_lacks_are_left_out_with_a_word(loaded: Callable) -> None:
    pair = loaded(fixed=table("AC", "PC", "LE"), moving=table("LE", "AC"))
    np.testing.assert_array_equal(pair.fixed.landmarks, [POSITIONS["AC"], POSITIONS["LE"]])
    np.testing.assert_array_equal(pair.moving.landmarks, pair.fixed.landmarks)
    assert pair.landmarks["left_out"] == {"fixed": ["PC"], "moving": []}
    assert pair.fixed.warnings == ("1 of 3 landmarks left out, as the other image lacks them: PC",)
    assert pair.moving.warnings == ()


def test_arrays_and_keypoints_are_matched_by_row(loaded: Callable, tmp_path: Path) -> None:
    values = np.array(list(POSITIONS.values()))
    pair = loaded(fixed=table("LE", "PC", "AC"), moving=values)
    np.testing.assert_array_equal(pair.moving.landmarks, values)
    np.testing.assert_array_equal(pair.fixed.landmarks, values[::-1])
    assert pair.landmarks["matched_by"] == "row"
    assert loaded(fixed=values, moving=values).landmarks["matched_by"] == "row"
    (tmp_path / "keypoints.csv").write_text("1,2,3\n4,5,6\n")
    files = ImageSources(image=pair.fixed.scan.path, keypoints=str(tmp_path / "keypoints.csv"))
    learned = read_pair(Job(name="pair", folder="", fixed=files, moving=files), strip="no")
    assert learned.landmarks == {"matched_by": "row", "count": 2, "left_out": {"fixed": [], "moving": []}}
    voxels = load_keypoints(tmp_path / "keypoints.csv").numpy()
    np.testing.assert_array_equal(learned.fixed.landmarks, voxels * [2, 1, 1])  # mm


def test_landmarks_of_one_image_alone_have_no_partners(loaded: Callable) -> None:
    pair = loaded(fixed=table("AC"))
    np.testing.assert_array_equal(pair.fixed.landmarks, [POSITIONS["AC"]])
    assert pair.moving.landmarks is None
    assert pair.landmarks is None


def test_point_list_of_slicer_meets_a_table(loaded: Callable) -> None:
    placed = [{"label": name, "position": [-x, -y, z]} for name, (x, y, z) in POSITIONS.items()][::-1]
    lost = {"label": "CULM", "positionStatus": "undefined"}
    text = json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [lost, *placed]}]})
    pair = loaded(fixed=table("PC", "AC", "LE"), moving=text)
    np.testing.assert_array_equal(pair.moving.landmarks, pair.fixed.landmarks)
    assert pair.moving.warnings == ("1 of 4 landmarks left out, as they were not placed in 3D Slicer (positionStatus)",)


# --- points -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "said", "errors"),
    [
        ("name;x;y;z\nle;-7,0;8;9\nac;1;2;3\npc;4;5;7,0\n", "3 landmarks matched by name", ["0", "1", "0"]),
        ("name\tx\ty\tz\nPC\t4\t5\t8\n", "1 landmarks matched by name", ["", "2", ""]),
        ("1 2 3\n4 5 9\n-7 8 9\n", "3 landmarks matched by row", ["0", "3", "0"]),
    ],
)
def test_points_says_how_it_matched(
    tmp_path: Path, capsys: pytest.CaptureFixture, target: str, said: str, errors: list[str]
) -> None:
    save_affine(tmp_path / "identity.mat", np.eye(4))
    (tmp_path / "in.csv").write_text(table("AC", "PC", "LE"))
    (tmp_path / "to.tsv").write_text(target)
    paths = {name: str(tmp_path / name) for name in ("identity.mat", "in.csv", "out.csv", "to.tsv")}
    points(paths["identity.mat"], paths["in.csv"], paths["out.csv"], to=paths["to.tsv"])
    assert said in capsys.readouterr().out
    rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert [row.split(",")[-1] for row in rows] == [f"{error}.000000" if error else "" for error in errors]


@pytest.mark.parametrize("people", [("1003", "1006"), ("1013", "1003")])
def test_order_of_real_landmarks_does_not_matter(shared_data: Path, tmp_path: Path, people: tuple[str, str]) -> None:
    files = [shared_data / "landmarks" / f"{name}_landmarks.csv" for name in people]
    header, *rows = files[1].read_text().splitlines()
    (tmp_path / "sorted.csv").write_text("\n".join([header, *sorted(rows, key=lambda row: row.split(",")[2])]))
    one, two, other = (read_points(path) for path in (*files, tmp_path / "sorted.csv"))
    assert other.names != two.names
    matches = match_landmarks(one, other, FILES)
    np.testing.assert_array_equal(one.positions[matches.rows[0]], one.positions)
    np.testing.assert_array_equal(other.positions[matches.rows[1]], two.positions)
    assert matches.by == "name"
    assert len(matches.rows[0]) == 32
