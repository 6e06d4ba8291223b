# SPDX-License-Identifier: Apache-2.0
"""Writing: a file or folder of results is whole, or is not there at all."""

import json
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, TextIO

from scripts.io.files import FilePath, check_is_text
from scripts.runtime import InputError, first_line

_UNFINISHED = ".unfinished-"  # how the names of files and folders begin that are not whole yet


@contextmanager
def whole_file(path: FilePath) -> Iterator[Path]:
    """Write a file whole or not at all: to a path beside it, which gets the file's name at the end.

    An older file stays as it is until then. What a killed process leaves beside it is removed by the next one.

    Args:
        path: path of the file; its folder exists.

    Yields:
        The path to write to.

    Raises:
        InputError: if the file cannot be written.
    """
    final = Path(path)
    # The process's number keeps two writers of one file apart; the name is at the end, as writers go by the ending.
    unfinished = final.with_name(f"{_UNFINISHED}{os.getpid()}-{final.name}")
    for left in final.parent.glob(f"{_UNFINISHED}*-{escape(final.name)}"):
        if not _is_running(left.name.removeprefix(_UNFINISHED).partition("-")[0]):
            left.unlink(missing_ok=True)
    try:
        try:
            yield unfinished
            os.replace(unfinished, final)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(f"{path}: cannot be written ({reason}); free some space or choose another folder") from error


@contextmanager
def whole_folder(path: FilePath, last: str | None = None, ours: Collection[str] = ()) -> Iterator[Path]:
    """Write a folder's files whole or not at all: to a temporary folder, of which it gets them at the end.

    Args:
        path: path of the folder; it and those above it are made. Without `last` it is new or empty, and appears with
            all its files at once.
        last: name of the file that tells that all files are there. With it, the folder may hold others before: those
            of the same names are replaced one by one, and as long as that takes, this file is missing. It and those in
            `ours` may have folders in their names.
        ours: with `last`, names of files that an earlier run may have left: those that are not written anew are
            removed, any other file stays.

    Yields:
        The folder to write to.
    """
    final = Path(path)
    place = final if last else final.parent
    place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place, prefix=_UNFINISHED) as temporary:
        unfinished = Path(temporary) / "folder"
        unfinished.mkdir()
        yield unfinished
        if last is None:
            os.replace(unfinished, final)
            return
        (final / last).unlink(missing_ok=True)
        for name in ours:
            if not (unfinished / name).exists():
                (final / name).unlink(missing_ok=True)
        files = [file.relative_to(unfinished) for file in unfinished.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: file == Path(last)):
            (final / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(unfinished / file, final / file)


def write_complete(path: FilePath, write: Callable[[TextIO], None]) -> None:
    """Write a text file, whole or not at all.

    Args:
        path: path of the file; missing folders are made.
        write: function that writes the content to the opened file.

    Raises:
        InputError: if the file cannot be written.
    """
    final = Path(path)
    with whole_file(final) as file:
        final.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="", encoding="utf-8") as stream:
            write(stream)


def write_json(path: FilePath, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all; NaN and infinity, which JSON does not have, become null.

    Args:
        path: path of the file; missing folders are made.
        content: content, of nested mappings and lists.

    Raises:
        InputError: if the file cannot be written.
    """
    write_complete(path, lambda file: json.dump(_finite_or_none(content), file, indent=2, allow_nan=False))


def check_folder(path: FilePath) -> None:
    """Find out before computing whether a folder can be written to, or made.

    Args:
        path: path of the folder.

    Raises:
        InputError: if it is no text, begins with `~`, or if it, or a folder on the way to it, is a file or is not
            writable.
    """
    check_is_text(path, "output_dir")
    if os.fspath(path).startswith("~"):
        raise InputError(f"--output_dir {path}: ~ is not read as the home folder here; write the path in full, or ./~")
    there = next(folder for folder in (Path(path), *Path(path).absolute().parents) if folder.exists())
    if not there.is_dir():
        raise InputError(f"{there}: a file, not a folder; choose another --output_dir")
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        raise InputError(f"{there}: cannot be written to ({error.strerror}); choose another --output_dir") from error


def check_output(path: str, inputs: Sequence[str], endings: Sequence[str] = ("",)) -> None:
    """Find out before computing whether a file can be written.

    Args:
        path: path of the file.
        inputs: paths of files that it must not overwrite.
        endings: endings that its name may have.

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


def _is_running(process: str) -> bool:
    """Whether there may be a process of this number."""
    if os.name != "posix" or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
