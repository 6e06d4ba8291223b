# SPDX-License-Identifier: Apache-2.0
"""Landmarks of 3D Slicer: its Markups JSON (`.mrk.json`), and what the comments of an `.fcsv` say."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scripts.io.files import FilePath, file_start, read_json
from scripts.runtime import InputError

_SPACES = {"0": "ras", "ras": "ras", "1": "lps", "lps": "lps"}


class Markups(NamedTuple):
    """A point list.

    Attributes:
        names: label of each point.
        positions: 3 numbers for each point, mm.
        space: `ras` or `lps`.
        warnings: what was left out, one line each.
    """

    names: list[str]
    positions: list[list[float]]
    space: str
    warnings: tuple[str, ...]


def is_json(file: Path) -> bool:
    """Whether a file that is there begins as a JSON object does."""
    return file_start(file).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def read_markups(path: FilePath) -> Markups:
    """Read the point list of a `.mrk.json`. Points that were not placed are left out, with a warning.

    Raises:
        InputError: if it is damaged or no such file, if it does not hold exactly one point list, if that holds no
            points or is in other units than mm, or if a point has no 3 finite numbers.
    """
    markup = _point_list(read_json(path), path)
    _check_unit(markup.get("coordinateUnits", "mm"), path)
    points = _objects(markup.get("controlPoints"))
    placed = [point for point in points if point.get("positionStatus", "defined") == "defined"]
    if not placed:
        raise InputError(f"{path}: no point of its list has a position; place some in 3D Slicer")
    for number, point in enumerate(placed, 1):
        if not _is_position(point.get("position")):
            raise InputError(f"{path}: point {number} is at {point.get('position')}; want 3 finite numbers, in mm")
    left = len(points) - len(placed)
    warnings = (
        (f"{left} of {len(points)} landmarks left out, as they were not placed in 3D Slicer (positionStatus)",)
        if left
        else ()
    )
    names = [str(point.get("label", "")).strip() for point in placed]
    # 3D Slicer's own default
    space = slicer_space(str(markup.get("coordinateSystem", "LPS")), path)
    return Markups(names, [point["position"] for point in placed], space, warnings)


def fcsv_columns(comments: Sequence[str], path: FilePath) -> list[str]:
    """Names of the columns of an `.fcsv`, from its comments.

    Raises:
        InputError: if they do not say so.
    """
    return _comment(comments, "columns", path).split(",")


def fcsv_space(comments: Sequence[str], path: FilePath) -> str:
    """Space of the positions of an `.fcsv`, from its comments: `ras` or `lps`.

    Raises:
        InputError: if they do not say so.
    """
    return slicer_space(_comment(comments, "CoordinateSystem", path), path)


def slicer_space(name: str, path: FilePath) -> str:
    """3D Slicer's name of a space as `ras` or `lps`.

    Raises:
        InputError: for another space.
    """
    if name.lower() not in _SPACES:
        raise InputError(f"{path}: positions in {name}; save them as RAS or LPS from 3D Slicer")
    return _SPACES[name.lower()]


def _point_list(content: Any, path: FilePath) -> Mapping[str, Any]:
    markups = _objects(content.get("markups"))
    if not markups:
        raise InputError(f"{path}: holds no 'markups'; give a point list of 3D Slicer (.mrk.json) or a CSV file")
    kinds = [str(markup.get("type", "Fiducial")) for markup in markups]
    if kinds != ["Fiducial"]:
        raise InputError(f"{path}: holds {', '.join(kinds)}, not one point list; save that alone from 3D Slicer")
    return markups[0]


def _check_unit(unit: Any, path: FilePath) -> None:
    """The unit is a text, or a coded entry such as ["mm", "UCUM", "millimeter"]."""
    code = unit[0] if isinstance(unit, list) and unit else unit
    if code != "mm":
        raise InputError(f"{path}: positions in {code}; save them in mm from 3D Slicer")


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_position(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(number, int | float) and math.isfinite(number) for number in value)
    )


def _comment(comments: Sequence[str], key: str, path: FilePath) -> str:
    """What a comment of an `.fcsv` says, such as `# CoordinateSystem = LPS`."""
    for comment in comments:
        name, _, value = comment.partition("=")
        if name.strip() == key:
            return value.strip()
    raise InputError(f"{path}: no '# {key} = …' among its comments; save it anew from 3D Slicer, or give a CSV file")
