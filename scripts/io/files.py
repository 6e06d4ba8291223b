# SPDX-License-Identifier: Apache-2.0
"""A file to read: that it is there, can be opened, and is the file itself."""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scripts.runtime import InputError, first_line

FilePath = str | os.PathLike[str]

_BLOCK = 4096  # bytes of each part of an outline
_START = 1024  # bytes that tell what a file is
_ANNEX = "annex/objects/"  # in the path of every content that git-annex keeps
_POINTERS = (  # how a small text that stands for a file begins, and what fetches the file
    ("Git LFS", re.compile(rb"version https://git-lfs\.github\.com/spec/"), "git lfs pull"),
    # An unlocked file, or a link on a file system without links, where git writes its target as text.
    ("git-annex", re.compile(rb"[\w./-]*/" + _ANNEX.encode()), "datalad get"),
)


def check_is_text(path: object, option: str) -> None:
    """Refuse a path that `python -m monai.bundle run` has read as a number, a list or the like.

    Args:
        path: value of the option.
        option: name of the option, for the message.

    Raises:
        InputError: if it is neither text nor a path, or is empty, or if MONAI has made `::` of a `#` in it.
    """
    if not isinstance(path, str | os.PathLike):
        kind = type(path).__name__
        raise InputError(f"--{option} {path}: read as {kind}, not as the name of a file or folder; write ./ before it")
    if not os.fspath(path):
        raise InputError(f"--{option}: empty; give the name of a file or folder")
    if "::" in os.fspath(path) and not os.path.exists(path):
        raise InputError(f"--{option} {path}: MONAI makes :: of a # in a path; docs/bundle.md says how to write it")


def existing_file(path: FilePath) -> Path:
    """The path of a file that is there and has content.

    Args:
        path: path of the file; a leading `~` is the home folder.

    Raises:
        InputError: if there is no such file, it is a folder, cannot be opened or is empty, or is a pointer (see
            `refuse_pointer`).
    """
    refuse_pointer(path)
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            raise InputError(f"{path}: a folder, not a file; give the path of a file")
        start = file_start(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(f"{path}: cannot be opened ({reason}); check its permissions") from error
    if not start:
        raise InputError(f"{path}: the file has zero bytes; copy or download it again")
    return file


def refuse_pointer(path: FilePath) -> None:
    """Refuse what stands in the place of a file: a pointer of Git LFS or git-annex (DataLad), or a broken link.

    Anything else passes, a file that is not there, too.

    Raises:
        InputError: for a pointer, or a link, of the file or of a folder above it, to what is not there.
    """
    file = Path(path).expanduser()
    try:
        start = file_start(file)
    except OSError:
        link = next(
            (place for place in (file, *file.parents) if os.path.islink(place) and not os.path.exists(place)), None
        )
        if link is None:
            return
        target = os.readlink(link)
        if _ANNEX not in target:
            where = "" if link == file else f" at {link}"
            raise InputError(
                f"{path}: a broken link{where}, to {target}, which is not there; restore that or give the file itself"
            ) from None
        start = f"/{_ANNEX}".encode()  # the link of a locked file, whose content is not fetched yet
    for tool, beginning, command in _POINTERS:
        if beginning.match(start):
            raise InputError(f"{path}: a pointer of {tool}, its content is not here; get it with `{command}`")


def file_start(file: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        OSError: if it cannot be opened.
    """
    with file.open("rb") as stream:
        return stream.read(_START)


def read_json(path: FilePath) -> Any:
    """Content of a JSON file.

    Raises:
        InputError: if it cannot be read (see `existing_file`), or is no JSON.
    """
    file = existing_file(path)
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a JSON file ({first_line(error)}); repair it") from error


def outline_sha256(paths: Iterable[FilePath]) -> str:
    """SHA-256 of an outline of many files, in their order: size, beginning, middle and end of each.

    It tells other scans from those of an earlier run without reading all of them. At the end of a `.gz` is a checksum
    of all that it holds.

    Raises:
        InputError: if a file cannot be read, see `existing_file`.
    """
    digest = hashlib.sha256()
    for path in paths:
        with existing_file(path).open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for start in (0, size // 2, max(0, size - _BLOCK)):
                stream.seek(start)
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def file_sha256(path: FilePath) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
        InputError: if the file cannot be read, see `existing_file`.
    """
    digest = hashlib.sha256()
    with existing_file(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
