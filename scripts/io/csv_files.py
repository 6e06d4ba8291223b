# SPDX-License-Identifier: Apache-2.0
"""CSV files as programs and countries write them: with commas, semicolons, tabs or blanks, in UTF-8 or UTF-16."""

import codecs
import csv
import re
from collections.abc import Iterable, Sequence
from io import StringIO
from itertools import takewhile
from typing import NamedTuple

from scripts.io.files import FilePath, existing_file
from scripts.runtime import InputError

_SEPARATORS = "\t;,"
_ZIP = b"PK\x03\x04"


class CsvRow(NamedTuple):
    """A row.

    Attributes:
        line: number of its line in the file, from 1.
        cells: its cells, without quotes and blanks around them.
    """

    line: int
    cells: list[str]


class CsvFile(NamedTuple):
    """Content of a CSV file.

    Attributes:
        comments: lines before the first row that begin with `#`, without it.
        rows: rows that are not blank, that with the names of the columns included.
        decimal_commas: whether cells may hold numbers such as 1,5, as commas do not separate cells.
    """

    comments: list[str]
    rows: list[CsvRow]
    decimal_commas: bool


def read_csv(path: FilePath) -> CsvFile:
    """Read a CSV file. What separates its cells, the first row tells, or a line `sep=;` before it, as Excel writes it.

    Raises:
        InputError: if the file cannot be read (see `existing_file`), is no text in UTF-8 or UTF-16, or has a quote that
            does not end.
    """
    lines = list(StringIO(_text(path), newline=""))
    comments = [line[1:].strip() for line in takewhile(lambda line: line.startswith("#"), lines)]
    start = len(comments)
    first = next((line for line in lines[start:] if line.strip()), "")
    is_fcsv = any(comment.startswith("columns") for comment in comments)  # whose texts may hold any sign
    separator = "," if is_fcsv else _separator(first)
    if stated := re.fullmatch(r"sep=(.)", first.strip(), re.IGNORECASE):
        separator, start = stated[1], lines.index(first) + 1
    try:
        rows = [
            CsvRow(start + number, [cell.strip() for cell in cells])
            for number, cells in _numbered_rows(lines[start:], separator)
        ]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error}); repair it") from error
    return CsvFile(comments, [row for row in rows if any(row.cells)], separator != ",")


def cells_by_column(names: Sequence[str], rows: Iterable[CsvRow], path: FilePath) -> dict[str, list[str]]:
    """Cells by column name, in the file's order; cells that a row lacks at its end are empty.

    Args:
        names: names of the columns; empty ones at the end are left out.
        rows: the rows below them.
        path: path of the file, for messages.

    Raises:
        InputError: if two columns have the same name, or a row has more cells than there are columns.
    """
    names = _without_empty_end(names)
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two columns have the same name; rename one in its header")
    table: list[list[str]] = []
    for line, cells in rows:
        cells = _without_empty_end(cells)
        if len(cells) > len(names):
            raise InputError(
                f"{path}: line {line} has {len(cells)} cells, want {len(names)}: {', '.join(names)}; "
                "correct it (where commas separate cells, a text with one needs quotes, and numbers need points)"
            )
        table.append([*cells, *[""] * (len(names) - len(cells))])
    return {name: [row[place] for row in table] for place, name in enumerate(names)}


def _text(path: FilePath) -> str:
    content = existing_file(path).read_bytes()
    if content.startswith(_ZIP):
        raise InputError(f"{path}: an Excel workbook or another archive, not a CSV file; save the table as CSV")
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in content and not is_utf16:
        raise InputError(f"{path}: not a text file; give a CSV file")
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8; save it as CSV UTF-8") from error


def _separator(line: str) -> str:
    """The most frequent of the signs that may separate cells; where there is none, a blank if there is one."""
    # Not in quotes; and a comma between two digits is a decimal comma if there is anything else.
    bare = re.sub(r'"[^"]*"', "", line.strip())
    counted = re.sub(r"(?<=\d),(?=\d)", ".", bare)
    best = max(_SEPARATORS, key=counted.count)
    if best in counted:
        return best
    return " " if " " in bare else ","


def _numbered_rows(lines: Sequence[str], separator: str) -> Iterable[tuple[int, list[str]]]:
    """The cells of each row, and the number of its last line, from 1."""
    if separator == " ":  # any number of blanks
        yield from enumerate((line.split() for line in lines), 1)
        return
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    for cells in reader:
        yield reader.line_num, cells


def _without_empty_end(cells: Sequence[str]) -> list[str]:
    kept = list(cells)
    while kept and not kept[-1]:
        kept.pop()
    return kept
