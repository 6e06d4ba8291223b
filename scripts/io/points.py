# SPDX-License-Identifier: Apache-2.0
"""Landmarks in CSV files: this project's, ANTs', tables of 3 columns; 3D Slicer's `.fcsv` is read, too.

Which columns hold the position, and in which space, the header says: `x, y, z`, alone or as in `x_ras_mm`, `x_lps`;
`R, A, S`; `L, P, S`. ANTs' header `x,y,z,t` means LPS. Other columns stay as they are.
"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from scripts.geometry import LPS_SIGNS
from scripts.io.files import FilePath, existing_file
from scripts.io.writing import write_complete
from scripts.runtime import InputError

_SIGNS = {"ras": np.ones(3), "lps": LPS_SIGNS}
_AXIS = re.compile(r"(?P<axis>[xyz])(?P<kind>(_(?P<space>ras|lps))?(_mm)?)")
_NAMES = ("name", "label", "id")
_SLICER_SPACES = {"0": "ras", "ras": "ras", "1": "lps", "lps": "lps"}


@dataclass(frozen=True)
class Table:
    """How the file of some points was laid out.

    Attributes:
        columns: cells by column name, in the file's order, those of the positions included.
        axes: names of the three columns that hold the positions.
        space: space of the positions, `ras` or `lps`.
        header: whether the file begins with the columns' names.
    """

    columns: Mapping[str, Sequence[str]]
    axes: Sequence[str]
    space: str
    header: bool


@dataclass(frozen=True)
class Points:
    """Landmarks.

    Attributes:
        names: name of each landmark; its number, from 1, where the file has none.
        positions: `(N, 3)` float64, RAS mm.
        table: layout and other columns of the file, for writing; `dataclasses.replace(points, positions=...)` keeps it.
    """

    names: list[str]
    positions: NDArray[np.float64]
    table: Table | None = None


def read_points(path: FilePath, space: str | None = None) -> Points:
    """Read landmarks.

    Args:
        path: path of a CSV file with a header as above, or of rows of 3 numbers alone; or of a `.fcsv`.
        space: space of the positions, `ras` or `lps`; by default what the header says, or else RAS.

    Raises:
        InputError: if the file is missing or is no such table of finite numbers, or if its header says another space.
    """
    _check_space(space, path)
    lines = _lines(path)
    comments = [line[1:].strip() for line in takewhile(lambda line: line.startswith("#"), lines)]
    rows = _rows(lines[len(comments) :], path)
    if comments:
        rows = _slicer_rows(comments, rows, path)
    header = not all(_is_number(cell) for cell in rows[0])
    names = [cell.strip() for cell in rows.pop(0)] if header else ["x", "y", "z"]
    columns = _columns(names, rows, path)
    axes, stated, usual = _axes(names, path)
    if comments:
        stated = _slicer_space(comments, path)
    if space and stated and space != stated:
        raise InputError(f"{path}: holds {stated.upper()} positions, says its header, not {space.upper()}")
    used = space or stated or usual
    positions = _positions(columns, axes, path) * _SIGNS[used]
    table = None if comments else Table(columns, axes, used, header)
    return Points(_names(columns, len(rows)), positions, table)


def as_positions(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Landmarks given as an array: `(N, 3)` float64, RAS mm.

    Raises:
        InputError: for another shape, or values that are not finite.
    """
    positions = np.asarray(values, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions) or not np.isfinite(positions).all():
        raise InputError(f"landmarks of shape {positions.shape}: want finite positions (N, 3), RAS mm")
    return positions


def write_points(
    path: FilePath,
    points: Points,
    space: str | None = None,
    columns: Mapping[str, NDArray[np.floating]] | None = None,
) -> None:
    """Write landmarks, laid out as the file that they were read from; others as `name,x_ras_mm,y_ras_mm,z_ras_mm`.

    Args:
        path: path of the CSV file; missing folders are made.
        points: landmarks, as many positions as names.
        space: space of the positions, `ras` or `lps`; by default that of the file that they were read from, or else
            RAS. Where it is another one, the columns are named for it, as `x_lps_mm`.
        columns: further numbers by column name, `(N,)`; a NaN leaves its cell empty.

    Raises:
        InputError: for another space, or if the file cannot be written.
        ValueError: if there are not as many positions as names.
    """
    _check_space(space, path)
    if points.positions.shape != (len(points.names), 3):
        raise ValueError(f"{len(points.names)} names, but positions {points.positions.shape}")
    table = points.table or Table({"name": points.names}, (), "", True)
    space = space or table.space or "ras"
    numbers = dict(zip(_axis_names(space), (points.positions * _SIGNS[space]).T, strict=True))
    if space == table.space:
        numbers = dict(zip(table.axes, numbers.values(), strict=True))
    cells = _renamed(table, list(numbers))
    cells |= {name: _cells(values) for name, values in {**numbers, **(columns or {})}.items()}

    def write(file: TextIO) -> None:
        writer = csv.writer(file, lineterminator="\n")
        if table.header or columns or space != table.space:
            writer.writerow(cells)
        writer.writerows(zip(*cells.values(), strict=True))

    write_complete(Path(path).expanduser(), write)


def _check_space(space: str | None, path: FilePath) -> None:
    if space not in (None, *_SIGNS):
        raise InputError(f"{path}: the space of points is ras or lps, not {space}")


def _renamed(table: Table, axes: Sequence[str]) -> dict[str, Sequence[str]]:
    """The columns, in their order, with other names for those that hold the positions."""
    new = dict(zip(table.axes, axes, strict=False))
    return {new.get(name, name): cells for name, cells in table.columns.items()}


def _axis_names(space: str) -> list[str]:
    return [f"{axis}_{space}_mm" for axis in "xyz"]


def _cells(values: NDArray[np.floating]) -> list[str]:
    # adding 0 makes -0 a 0
    return ["" if math.isnan(value) else f"{round(float(value), 6) + 0.0:.6f}" for value in values]


def _lines(path: FilePath) -> list[str]:
    try:
        with existing_file(path).open(encoding="utf-8-sig", newline="") as file:
            return file.readlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file; give a CSV file of landmarks") from error


def _rows(lines: list[str], path: FilePath) -> list[list[str]]:
    try:
        rows = [row for row in csv.reader(lines, strict=True) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error}); give one of landmarks") from error
    if not rows:
        raise InputError(f"{path}: holds no landmarks; give a CSV file with some")
    return rows


def _columns(names: list[str], rows: list[list[str]], path: FilePath) -> dict[str, list[str]]:
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two columns have the same name; rename one in its header")
    if not rows:
        raise InputError(f"{path}: holds a header but no landmarks; give a CSV file with some")
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            wanted = f"want {len(names)}: {','.join(names)}"
            raise InputError(f"{path}: landmark {number} has {len(row)} cells, {wanted}; correct the file")
    return {name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}


def _axes(names: Sequence[str], path: FilePath) -> tuple[list[str], str | None, str]:
    """Names of the three columns that hold the positions, the space that they name, and the one they usually have."""
    by_lower = {name.lower(): name for name in names}
    groups: dict[tuple[str, str | None], list[str]] = {}
    for lower, name in sorted(by_lower.items()):
        if match := _AXIS.fullmatch(lower):
            groups.setdefault((match["kind"], match["space"]), []).append(name)
    found = [(axes, space) for (_, space), axes in groups.items() if len(axes) == 3]
    found += [([by_lower[axis] for axis in space], space) for space in _SIGNS if set(space) <= set(by_lower)]
    if not found:
        columns = ", ".join(names)
        raise InputError(
            f"{path}: no columns x, y, z (or x_ras_mm …, R, A, S …) among {columns}; name them in a header"
        )
    if len(found) > 1:
        raise InputError(f"{path}: positions in several columns; keep x, y, z of one space")
    axes, space = found[0]
    return axes, space, "lps" if list(by_lower)[:4] == ["x", "y", "z", "t"] else "ras"


def _positions(columns: Mapping[str, Sequence[str]], axes: Sequence[str], path: FilePath) -> NDArray[np.float64]:
    """The numbers as they stand, `(N, 3)`."""
    rows = list(zip(*(columns[axis] for axis in axes), strict=True))
    for number, row in enumerate(rows, 1):
        if not all(_is_number(cell) and math.isfinite(float(cell)) for cell in row):
            raise InputError(f"{path}: landmark {number} is at {', '.join(row)}; want 3 finite numbers, in mm")
    return np.array(rows, dtype=np.float64)


def _names(columns: Mapping[str, Sequence[str]], count: int) -> list[str]:
    by_lower = {name.lower(): cells for name, cells in columns.items()}
    numbers = [str(number) for number in range(1, count + 1)]
    return list(next((by_lower[name] for name in _NAMES if name in by_lower), numbers))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _slicer_rows(comments: Sequence[str], rows: list[list[str]], path: FilePath) -> list[list[str]]:
    """The rows of an `.fcsv` below the header that its comments hold."""
    header = _slicer_line(comments, "columns", path).split(",")
    return [header, *(row[: len(header)] for row in rows)]  # 3D Slicer 5 writes two cells more


def _slicer_line(comments: Sequence[str], key: str, path: FilePath) -> str:
    """What a comment of an `.fcsv` says, such as `# CoordinateSystem = LPS`."""
    for comment in comments:
        name, _, value = comment.partition("=")
        if name.strip() == key:
            return value.strip()
    raise InputError(f"{path}: no '# {key} = …' among its comments; save it anew from 3D Slicer, or give a CSV file")


def _slicer_space(comments: Sequence[str], path: FilePath) -> str:
    space = _slicer_line(comments, "CoordinateSystem", path)
    if space.lower() not in _SLICER_SPACES:
        raise InputError(f"{path}: positions in {space}; save them as RAS or LPS from 3D Slicer")
    return _SLICER_SPACES[space.lower()]
