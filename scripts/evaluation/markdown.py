# SPDX-License-Identifier: Apache-2.0
"""The tables of a study as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from scripts.io import write_complete


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text of a Markdown table.

    Args:
        header: titles of the columns.
        rows: cells of each row, as many as there are columns.
    """
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, ["---"] * len(header), *rows))


def write_markdown(path: Path, text: str) -> None:
    """Write a text to a file, and print both the text and the path.

    Args:
        path: Markdown file to write; missing folders are made.
        text: content of the file.
    """
    write_complete(path, lambda file: print(text, end="", file=file))
    print(f"\n{text}\ntable: {path}")
