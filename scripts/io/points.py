# SPDX-License-Identifier: Apache-2.0
"""Landmarks in CSV files: this project's, ANTs', tables of 3 columns; also 3D Slicer's `.fcsv` and `.mrk.json`.

Which columns hold the position, and in which space, the header says: `x, y, z`, alone or as in `x_ras_mm`, `x_lps`;
`R, A, S`; `L, P, S`. ANTs' header `x,y,z,t` means LPS. Other columns stay as they are.
Where commas do not separate the cells, numbers may have decimal commas; what is written has commas and decimal points.
"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from scripts.geometry import LPS_SIGNS
from scripts.io.csv_files import CsvFile, cells_by_column, read_csv
from scripts.io.files import FilePath, existing_file
from scripts.io.slicer import fcsv_columns, fcsv_space, is_json, read_markups
from scripts.io.writing import write_complete
from scripts.runtime import InputError

_SIGNS = {"ras": np.ones(3), "lps": LPS_SIGNS}
_AXIS = re.compile(r"(?P<axis>[xyz])(?P<kind>(_(?P<space>ras|lps))?(_mm)?)")
_NAMES = ("name", "label", "id")


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
        named: whether the names are those of a file, and not numbers.
        warnings: what was left out, one line each.
    """

    names: list[str]
    positions: NDArray[np.float64]
    table: Table | None = None
    named: bool = True
    warnings: tuple[str, ...] = ()


def read_points(path: FilePath, space: str | None = None) -> Points:
    """Read landmarks.

    Args:
        path: path of a CSV file with a header as above, or of rows of 3 numbers alone; or of a point list of 3D Slicer,
            `.fcsv` or `.mrk.json`.
        space: space of the positions, `ras` or `lps`; by default what the file says, or else RAS.

    Raises:
        InputError: if the file is missing or is no such table of finite numbers, or if it says another space.
    """
    _check_space(space, path)
    if is_json(existing_file(path)):
        labels, positions, stated, warnings = read_markups(path)
        used = _space(space, stated, stated, path)
        return _points(labels if any(labels) else [], np.array(positions) * _SIGNS[used], None, warnings)
    file = read_csv(path)
    if not file.rows:
        raise InputError(f"{path}: holds no landmarks; give a CSV file with some")
    header, cells = _header_and_cells(file, path)
    axes, stated_by_header, usual = _axes(list(cells), path)
    used = _space(space, fcsv_space(file.comments, path) if file.comments else stated_by_header, usual, path)
    found = _positions(cells, axes, file.decimal_commas, path) * _SIGNS[used]
    return _points(_names(cells), found, None if file.comments else Table(cells, axes, used, header))


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


def _points(
    names: list[str], positions: NDArray[np.float64], table: Table | None, warnings: tuple[str, ...] = ()
) -> Points:
    """Landmarks, with numbers for names where there are none."""
    numbers = [str(number) for number in range(1, len(positions) + 1)]
    return Points(names or numbers, positions, table, bool(names), warnings)


def _space(wanted: str | None, stated: str | None, usual: str, path: FilePath) -> str:
    """The space that positions are taken in."""
    if wanted and stated and wanted != stated:
        raise InputError(f"{path}: holds {stated.upper()} positions, as it says itself, not {wanted.upper()}")
    return wanted or stated or usual


def _header_and_cells(file: CsvFile, path: FilePath) -> tuple[bool, dict[str, list[str]]]:
    """Whether a row has the columns' names, and the cells by these names."""
    if file.comments:
        names = fcsv_columns(file.comments, path)
        # 3D Slicer 5 writes two cells more
        return False, cells_by_column(names, [row._replace(cells=row.cells[: len(names)]) for row in file.rows], path)
    if all(_number(cell, file.decimal_commas) is not None for cell in file.rows[0].cells if cell):
        return False, cells_by_column(["x", "y", "z"], file.rows, path)
    cells = cells_by_column(file.rows[0].cells, file.rows[1:], path)
    if len(file.rows) == 1:
        raise InputError(f"{path}: holds a header but no landmarks; give a CSV file with some")
    return True, cells


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


def _positions(
    cells: Mapping[str, Sequence[str]], axes: Sequence[str], decimal_commas: bool, path: FilePath
) -> NDArray[np.float64]:
    """The numbers as they stand, `(N, 3)`."""
    rows = list(zip(*(cells[axis] for axis in axes), strict=True))
    positions = [[_number(cell, decimal_commas) for cell in row] for row in rows]
    for number, (row, position) in enumerate(zip(rows, positions, strict=True), 1):
        if not all(value is not None and math.isfinite(value) for value in position):
            raise InputError(f"{path}: landmark {number} is at {', '.join(row)}; want 3 finite numbers, in mm")
    everything = "".join(cell for row in rows for cell in row)
    if "," in everything and "." in everything:
        raise InputError(f"{path}: numbers with decimal commas and with points; write all of them in one way")
    return np.array(positions, dtype=np.float64)


def _names(cells: Mapping[str, Sequence[str]]) -> list[str]:
    """The first column of names that is not empty; nothing where there is none."""
    by_lower = {name.lower(): column for name, column in cells.items()}
    return next((list(by_lower[name]) for name in _NAMES if any(by_lower.get(name, ()))), [])


def _number(cell: str, decimal_commas: bool) -> float | None:
    """The number in a cell, or None."""
    try:
        return float(cell.replace(",", ".") if decimal_commas else cell)
    except ValueError:
        return None
