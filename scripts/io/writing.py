"""Files that are whole or not there at all."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TextIO

from scripts.io.files import FilePath
from scripts.runtime import InputError, first_line


def check_folder(path: str | os.PathLike[str]) -> None:
    """Whether a folder of that name can be made, or is there, and can be written to.

    Raises:
        InputError: if it, or a folder on the way to it, is a file or is not writable.
    """
    there = next(folder for folder in (Path(path), *Path(path).absolute().parents) if folder.exists())
    if not there.is_dir():
        raise InputError(f"{there}: a file, not a folder; choose another --output_dir")
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        raise InputError(f"{there}: cannot be written to ({error.strerror}); choose another --output_dir") from error


def write_complete(path: Path, write: Callable[[TextIO], None]) -> None:
    """Write a text file beside its place and rename it, so that it is complete or not there at all.

    Args:
        path: of the file; missing folders are made.
        write: writes the content to the open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with open(partial, "w", newline="", encoding="utf-8") as file:
            write(file)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_output(path: str, inputs: Sequence[str], endings: Sequence[str] = ("",)) -> None:
    """Find out before computing whether a file can be written.

    Args:
        path: of the file.
        inputs: files that it must not overwrite.
        endings: which it may have.

    Raises:
        InputError: if it cannot or must not be written.
    """
    file = Path(path)
    if file.is_dir():
        raise InputError(f"{path}: a folder, not a file; give --output the name of a file")
    if not file.name.endswith(tuple(endings)):
        raise InputError(f"{path}: the output must be a {' or '.join(endings)} file")
    if file.exists() and any(Path(other).exists() and file.samefile(other) for other in inputs):
        raise InputError(f"{path}: would overwrite an input; choose another --output")
    if not file.parent.exists():
        raise InputError(f"{file.parent}: no such folder; make it or choose another --output")
    check_folder(file.parent)


@contextmanager
def unfinished(path: FilePath) -> Iterator[Path]:
    """A place beside the destination to write to, renamed at the end: no half file ever takes the final name.

    Raises:
        InputError: if the file cannot be written.
    """
    final = Path(path)
    try:
        with TemporaryDirectory(dir=final.parent, prefix=".writing-") as folder:
            file = Path(folder) / final.name
            yield file
            os.replace(file, final)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({first_line(error)}); free some space or choose another folder"
        ) from error
