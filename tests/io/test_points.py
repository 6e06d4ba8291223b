# SPDX-License-Identifier: Apache-2.0
"""Landmark files: whose layout, which space, and that nothing of a file gets lost."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.io.points import Points, read_points, write_points
from scripts.runtime.errors import InputError

FCSV = """# Markups fiducial file version = 4.11
# CoordinateSystem = {space}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,-1.5,2,3.25,0,0,0,1,1,1,0,AC,"anterior, commissure",{extra}
2,4,5,6,0,0,0,1,1,1,0,PC,,{extra}
"""
RAS = [[1.5, -2.0, 3.25], [-4.0, -5.0, 6.0]]  # of the LPS positions (-1.5, 2, 3.25) and (4, 5, 6)


@pytest.mark.parametrize(
    ("text", "names", "ras"),
    [
        ("id,name,x_ras_mm,y_ras_mm,z_ras_mm\n1,AC,1.5,-2,3.25\n2,PC,-4,-5,6\n", ["AC", "PC"], True),
        ("name,x_lps_mm,y_lps_mm,z_lps_mm\nAC,-1.5,2,3.25\nPC,4,5,6\n", ["AC", "PC"], False),
        ("Z_LPS, X_LPS, Y_LPS, label\n3.25,-1.5,2,AC\n6,4,5,PC\n", ["AC", "PC"], False),
        ("label,R,A,S,visible\nAC,1.5,-2,3.25,1\nPC,-4,-5,6,1\n", ["AC", "PC"], True),
        ("label,l,p,s\nAC,-1.5,2,3.25\nPC,4,5,6\n", ["AC", "PC"], False),
        ("x,y,z\n1.5,-2,3.25\n\n-4,-5,6\n,,\n", ["1", "2"], True),
        ("x_mm,y_mm,z_mm,id\n1.5,-2,3.25,7\n-4,-5,6,9\n", ["7", "9"], True),
        ("x,y,z,t\n-1.5,2,3.25,0\n4,5,6,0\n", ["1", "2"], False),
        ("1.5,-2,3.25\r\n-4, -5, 6\r\n", ["1", "2"], True),
        ("\ufeff1.5,-2,3.25\n-4,-5,6", ["1", "2"], True),
        (FCSV.format(space="LPS", extra=""), ["AC", "PC"], False),
        (FCSV.format(space="1", extra=",2,0"), ["AC", "PC"], False),
    ],
)
def test_header_tells_where_the_positions_are(tmp_path: Path, text: str, names: list[str], ras: bool) -> None:
    path = tmp_path / "points.csv"
    path.write_bytes(text.encode())
    points = read_points(path)
    assert points.names == names
    assert points.positions.dtype == np.float64
    np.testing.assert_array_equal(points.positions, RAS)
    stated = "ras" if ras else "lps"
    np.testing.assert_array_equal(read_points(path, stated).positions, RAS)


def test_slicer_positions_in_ras_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "points.fcsv"
    for space in ("RAS", "0"):
        path.write_text(FCSV.format(space=space, extra=""))
        np.testing.assert_array_equal(read_points(path).positions, [[-1.5, 2, 3.25], [4, 5, 6]])


@pytest.mark.parametrize(
    "text",
    [
        "name;x;y;z\r\nAC;1,5;-2,0;3,25\r\nPC;-4;-5,0;6\r\n",  # Excel, decimal commas
        "name;x;y;z\nAC;1.5;-2.0;3.25\nPC;-4.0;-5.0;6\n",
        "name\tx\ty\tz\nAC\t1.5\t-2\t3.25\nPC\t-4\t-5\t6\n",
        "name\tx\ty\tz\nAC\t1,5\t-2,0\t3,25\nPC\t-4\t-5\t6\n",
        "name x y  z\nAC  1.5   -2 3.25\nPC -4   -5 6\n",
        'name, "x", y, z\n"AC", 1.5, "-2", 3.25\n PC , -4, -5, 6\n',
        "sep=;\nname;x;y;z\nAC;1,5;-2;3,25\nPC;-4;-5;6\n",
        "name,x,y,z,note;source\nAC,1.5,-2,3.25,\nPC,-4,-5,6,a;b\n",
        "name;x;y;z;note, if any\nAC;1.5;-2;3.25;deep, medial\nPC;-4;-5;6;\n",
        "name;x;y;z;\nAC;1.5;-2;3.25;;\nPC;-4;-5;6;\n;;;;\n",  # cells left of a table that was wider
        "name;x;y;z\rAC;1,5;-2;3,25\rPC;-4;-5;6\r",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["points.csv", "points.tsv", "points.txt"])
def test_table_of_any_program_and_country(tmp_path: Path, text: str, encoding: str, name: str) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    points = read_points(tmp_path / name)
    assert points.names == ["AC", "PC"]
    np.testing.assert_array_equal(points.positions, RAS)


@pytest.mark.parametrize(
    "text", ["1,5;-2,0;3,25\n-4;-5;6", "1.5\t-2\t3.25\n-4\t-5\t6", "1,5 -2,0 3,25\n-4 -5 6\n", "1.5 -2 3.25\n -4 -5 6"]
)
def test_numbers_alone_of_any_country(tmp_path: Path, text: str) -> None:
    (tmp_path / "points.txt").write_text(text)
    points = read_points(tmp_path / "points.txt")
    np.testing.assert_array_equal(points.positions, RAS)
    assert not points.named


def test_decimal_commas_are_written_as_points(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("name;x_ras;y_ras;z_ras;weight\nAC;1,5;2,0;3,25;0,5\n")
    write_points(tmp_path / "out.csv", read_points(tmp_path / "in.csv"))
    expected = 'name,x_ras,y_ras,z_ras,weight\nAC,1.500000,2.000000,3.250000,"0,5"\n'
    assert (tmp_path / "out.csv").read_text() == expected
    assert read_points(tmp_path / "out.csv").positions.tolist() == [[1.5, 2.0, 3.25]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("x,y,z\n1,2,3\n", None),
        ("id,x,y,z\nAC,1,2,3\n", ["AC"]),
        ("id,label,x,y,z\n1,AC,1,2,3\n", ["AC"]),
        ("name,label,x,y,z\n,AC,1,2,3\n", ["AC"]),
        ("name,x,y,z\n,1,2,3\n", None),
    ],
)
def test_numbers_of_rows_are_no_names(tmp_path: Path, text: str, names: list[str] | None) -> None:
    (tmp_path / "points.csv").write_text(text)
    points = read_points(tmp_path / "points.csv")
    assert points.named == (names is not None)
    assert points.names == (names or ["1"])


@pytest.mark.parametrize("text", ["x,y,z\n-1.5,2,3.25\n4,5,6\n", "-1.5,2,3.25\n4,5,6\n"])
def test_space_counts_where_the_header_says_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    np.testing.assert_array_equal(read_points(path, "lps").positions, RAS)
    np.testing.assert_array_equal(read_points(path).positions, read_points(path, "ras").positions)
    assert not np.array_equal(read_points(path).positions, RAS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "no such file"),
        ("", "zero bytes"),
        ("\n \n", "no landmarks"),
        ("x,y,z\n", "no landmarks"),
        ("x,y\n1,2\n", "no columns x, y, z"),
        ("x,y,z_ras\n1,2,3\n", "no columns x, y, z"),
        ("i,j,k\n1,2,3\n", "no columns x, y, z"),
        ("1,2\n3,4\n", "landmark 1 is at 1, 2, ; want 3 finite numbers"),
        ("x,y,z\n1,2,3\n1,2\n", "landmark 2 is at 1, 2, ; want 3 finite numbers"),
        ("x,y,z\n1,2,3\n1,2,3,4\n", "line 3 has 4 cells, want 3: x, y, z"),
        ("name,x,y,z\nAC,1,5,2,0,3,0\n", "line 2 has 7 cells, want 4: name, x, y, z"),
        ("x;y;z\n1,5;2.5;3\n", "decimal commas and with points"),
        ("x;y;z\n1.234,5;2;3\n", "landmark 1 is at 1.234,5, 2, 3"),
        (b"name;x;y;z\nr\xe9gion;1;2;3\n", "not a text file in UTF-8; save it as CSV UTF-8"),
        (b"PK\x03\x04\0\0", "an Excel workbook"),
        ("x,y,z\n1,2,3\n1,nan,3\n", "landmark 2 is at 1, nan, 3"),
        ("x,y,z\n1,2,inf\n", "landmark 1 is at"),
        ("x,y,z\n1,2,\n", "landmark 1 is at"),
        ("x,y,z,x\n1,2,3,4\n", "two columns"),
        ("x,y,z,r,a,s\n1,2,3,1,2,3\n", "several columns"),
        ("x_ras,y_ras,z_ras,x_lps,y_lps,z_lps\n1,2,3,1,2,3\n", "several columns"),
        ('name,x,y,z\n"AC,1,2,3\n', "not a CSV file"),
        (b"\x89\xff\x00", "not a text file"),
        ("# a comment\n1,2,3\n", "columns"),
        (FCSV.format(space="IJK", extra=""), "IJK"),
        (FCSV.format(space="RAS", extra="").replace("CoordinateSystem", "Unit"), "CoordinateSystem"),
    ],
)
def test_bad_file_is_one_line_that_names_it(tmp_path: Path, text: str | bytes | None, complaint: str) -> None:
    path = tmp_path / "points.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read_points(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert complaint in message
    assert "\n" not in message


def test_folder_and_unknown_space_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder"):
        read_points(tmp_path)
    with pytest.raises(InputError, match="ras or lps, not mni"):
        read_points(tmp_path / "points.csv", "mni")
    with pytest.raises(InputError, match="ras or lps, not mni"):
        write_points(tmp_path / "points.csv", Points([], np.zeros((0, 3))), "mni")


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("x_lps,y_lps,z_lps\n1,2,3\n", "ras"),
        ("r,a,s\n1,2,3\n", "lps"),
        (FCSV.format(space="LPS", extra=""), "ras"),
    ],
)
def test_space_that_contradicts_the_header_is_refused(tmp_path: Path, text: str, space: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=f"not {space.upper()}"):
        read_points(path, space)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_points("~/points.csv", Points(["a"], np.ones((1, 3))))
    assert read_points("~/points.csv").names == ["a"]
    assert (tmp_path / "points.csv").is_file()


def test_moved_points_keep_everything_else_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('side,z_ras_mm,name,y_ras_mm,x_ras_mm\n"L, upper",3,AC,2,1\n,6,"P ""C""",5,4\n')
    points = read_points(tmp_path / "in.csv")
    write_points(
        tmp_path / "out.csv", replace(points, positions=points.positions + np.array([[0.5, 0, 0], [-4, 0, 0]]))
    )
    assert (tmp_path / "out.csv").read_text() == (
        "side,z_ras_mm,name,y_ras_mm,x_ras_mm\n"
        '"L, upper",3.000000,AC,2.000000,1.500000\n'
        ',6.000000,"P ""C""",5.000000,0.000000\n'
    )


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("x_ras_mm,y_ras_mm,z_ras_mm\n1,2,3\n", "x_lps_mm,y_lps_mm,z_lps_mm"),
        ("x,y,z\n1,2,3\n", "x_lps_mm,y_lps_mm,z_lps_mm"),
        ("1,2,3\n", "x_lps_mm,y_lps_mm,z_lps_mm"),
        ("id,r,a,s\n7,1,2,3\n", "id,x_lps_mm,y_lps_mm,z_lps_mm"),
    ],
)
def test_columns_are_renamed_with_their_space(tmp_path: Path, text: str, header: str) -> None:
    (tmp_path / "in.csv").write_text(text)
    write_points(tmp_path / "out.csv", read_points(tmp_path / "in.csv"), "lps")
    first, second = (tmp_path / "out.csv").read_text().splitlines()
    assert first == header
    assert second.endswith("-1.000000,-2.000000,3.000000")
    np.testing.assert_array_equal(read_points(tmp_path / "out.csv").positions, [[1, 2, 3]])


def test_layout_without_header_stays_without(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("1,2,3\n")
    write_points(tmp_path / "out.csv", read_points(tmp_path / "in.csv", "lps"))
    assert (tmp_path / "out.csv").read_text() == "1.000000,2.000000,3.000000\n"


def test_further_columns_follow_and_replace_those_of_an_earlier_run(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    points = Points(["a", "b"], np.array(RAS))
    write_points(path, points, "ras", {"distance_mm": np.array([1.25, np.nan])})
    assert path.read_text().splitlines() == [
        "name,x_ras_mm,y_ras_mm,z_ras_mm,distance_mm",
        "a,1.500000,-2.000000,3.250000,1.250000",
        "b,-4.000000,-5.000000,6.000000,",
    ]
    write_points(path, read_points(path), columns={"distance_mm": np.array([0.0, 2.0])})
    assert [line.split(",")[-1] for line in path.read_text().splitlines()] == ["distance_mm", "0.000000", "2.000000"]


def test_wrong_number_of_positions_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 names"):
        write_points(tmp_path / "points.csv", Points(["a", "b"], np.zeros((3, 3))))
    assert not list(tmp_path.iterdir())


def test_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written") as caught:
        write_points(tmp_path / "file" / "points.csv", Points(["a"], np.zeros((1, 3))))
    assert "\n" not in str(caught.value)


positions = st.floats(-1000, 1000)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).map(str.strip).filter(bool)


@given(
    st.lists(st.tuples(texts, positions, positions, positions), min_size=1, max_size=5),
    st.sampled_from(["ras", "lps"]),
    st.sampled_from(["ras", "lps", None]),
)
def test_written_points_are_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    landmarks: list[tuple[str, float, float, float]],
    space: str,
    second: str | None,
) -> None:
    folder = tmp_path_factory.mktemp("points")
    points = Points([name for name, *_ in landmarks], np.array([position for _, *position in landmarks]))
    write_points(folder / "one.csv", points, space)
    write_points(folder / "two.csv", read_points(folder / "one.csv", space), second)
    for name in ("one.csv", "two.csv"):
        found = read_points(folder / name)
        assert found.names == points.names
        np.testing.assert_allclose(found.positions, points.positions, atol=6e-7)


def test_ants_moves_what_is_written_for_it(tmp_path: Path) -> None:
    """A shift of 1, 2, 3 mm in LPS, applied by ANTs to the very columns."""
    ants = pytest.importorskip("ants")
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "points.csv"
    path.write_text("x,y,z,t,label\n-1.5,2,3.25,0,AC\n4,5,6,0,PC\n")
    points = read_points(path)
    write_points(path, points)
    table = pandas.read_csv(path)
    transform = ants.create_ants_transform(transform_type="Euler3DTransform", translation=(1, 2, 3))
    ants.write_transform(transform, str(tmp_path / "shift.mat"))
    moved = ants.apply_transforms_to_points(3, table, [str(tmp_path / "shift.mat")])
    moved.to_csv(path, index=False)
    np.testing.assert_allclose(read_points(path).positions, points.positions + np.array([-1, -2, 3]), atol=1e-5)
    assert list(read_points(path).table.columns) == ["x", "y", "z", "t", "label"]


def test_landmarks_of_real_brains_are_read_and_written_alike(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "landmarks").glob("*.csv"))
    if not files:
        pytest.skip("no landmark files")
    for file in files:
        points = read_points(file)
        assert len(points.names) == 32
        assert "AC" in points.names
        write_points(tmp_path / file.name, points)
        with file.open() as one, (tmp_path / file.name).open() as two:
            before, after = list(csv.reader(one)), list(csv.reader(two))
        assert [row[:2] for row in before] == [row[:2] for row in after]
        assert before[0] == after[0]
        np.testing.assert_array_equal(
            np.float64([row[2:] for row in before[1:]]), np.float64([r[2:] for r in after[1:]])
        )
