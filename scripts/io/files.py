"""A file to read: that it is there, can be opened, and is the file itself."""

import hashlib
import os
from pathlib import Path

from scripts.runtime import InputError, first_line

FilePath = str | os.PathLike[str]

_START = 1024  # bytes that tell what a file is


def existing_file(path: FilePath) -> Path:
    """The path of a file that is there and has content.

    Args:
        path: path of the file; a leading `~` is the home folder.

    Raises:
        InputError: if there is no such file, it is a folder, cannot be opened or is empty, or if only a pointer of Git
            LFS or git-annex (DataLad) stands in its place.
    """
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            raise InputError(f"{path}: a folder, not a file; give the path of a file")
        start = file_start(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        if file.is_symlink() and "annex/objects" in os.readlink(file):
            raise _not_fetched(path, "git-annex", "datalad get") from error
        raise InputError(f"{path}: no such file; check the path") from error
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(f"{path}: cannot be opened ({reason}); check its permissions") from error
    if not start:
        raise InputError(f"{path}: the file has zero bytes; copy or download it again")
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        raise _not_fetched(path, "Git LFS", "git lfs pull")
    if start.startswith(b"/annex/objects/"):
        raise _not_fetched(path, "git-annex", "datalad get")
    return file


def file_start(file: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        OSError: if it cannot be opened.
    """
    with file.open("rb") as stream:
        return stream.read(_START)


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


def _not_fetched(path: FilePath, tool: str, command: str) -> InputError:
    return InputError(f"{path}: a pointer of {tool}, its content is not here; get it with `{command}`")
