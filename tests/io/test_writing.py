# SPDX-License-Identifier: Apache-2.0
"""A file or folder of results is whole or not there, whatever ends the process that writes it."""

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.io import (
    check_folder,
    check_output,
    whole_file,
    whole_folder,
)
from scripts.runtime import InputError


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- one file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("old", [None, "an older result"])
def test_failure_half_way_leaves_what_was_there(tmp_path: Path, error: BaseException, old: str | None) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)
    expected = InputError if isinstance(error, OSError) else type(error)

    def write_half() -> None:
        with whole_file(path) as file:
            file.write_text("half of a fi")
            raise error

    with pytest.raises(expected):
        write_half()
    assert names(tmp_path) == ({"file.txt"} if old is not None else set())
    assert old is None or path.read_text() == old


# --- a killed process -------------------------------------------------------------------------------------------------


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_process_that_dies(work: Callable[[], None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: other threads stand still in the child
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)  # work that comes to its end, or raises, has not died
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def fill(folder: Path) -> None:
    for name in ("image", "marker", "warp"):
        (folder / name).write_text("new")


def test_killed_process_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_text("old")

    def write_half() -> None:
        with whole_file(path) as file:
            file.write_text("half of a fi")
            die()

    in_a_process_that_dies(write_half)
    assert path.read_text() == "old"
    with whole_file(path) as file:
        file.write_text("new")
    assert path.read_text() == "new" and names(tmp_path) == {"model.pt"}


def test_two_processes_that_write_one_file_keep_apart(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with whole_file(path) as file:
        file.write_text("half of")
        child = os.fork()
        if child == 0:
            with whole_file(path) as other:
                other.write_text("the other one")
            os._exit(0)
        os.waitpid(child, 0)
        assert path.read_text() == "the other one"
        with file.open("a") as stream:
            stream.write(" ours")
    assert path.read_text() == "half of ours" and names(tmp_path) == {"table.csv"}


def test_killed_process_leaves_no_new_folder(tmp_path: Path) -> None:
    def write_all_and_die() -> None:
        with whole_folder(tmp_path / "data") as folder:
            fill(folder)
            die()

    in_a_process_that_dies(write_all_and_die)
    assert not (tmp_path / "data").exists()


def test_killed_process_leaves_no_folder_that_looks_complete(tmp_path: Path) -> None:
    """Some files are new, some old: the one that says that all belong together is away."""
    for name in ("image", "marker", "warp"):
        (tmp_path / name).write_text("old")
    replace = os.replace

    def replace_one(source: Path, target: Path) -> None:
        replace(source, target)
        die()

    def die_between_two_files() -> None:
        with whole_folder(tmp_path, last="marker") as folder:
            fill(folder)
            os.replace = replace_one

    in_a_process_that_dies(die_between_two_files)
    assert {(tmp_path / name).read_text() for name in ("image", "warp")} == {"old", "new"}
    assert not (tmp_path / "marker").exists()


# --- a folder ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [False, True])
def test_new_or_empty_folder_appears_with_all_its_files(tmp_path: Path, made: bool) -> None:
    path = tmp_path / "above" / "data"
    if made:
        path.mkdir(parents=True)
    with whole_folder(path) as folder:
        (folder / "images").mkdir()
        (folder / "images" / "a.nii").touch()
        assert not path.exists() or names(path) == set()
    assert names(path) == {"images"} and names(path / "images") == {"a.nii"}
    assert names(tmp_path / "above") == {"data"}


def test_files_join_others_in_a_folder(tmp_path: Path) -> None:
    for name in ("moved.nii.gz", "metrics.json", "notes.txt"):
        (tmp_path / name).write_text("old")
    with whole_folder(tmp_path, last="metrics.json") as folder:
        for name in ("moved.nii.gz", "metrics.json", "warp.nii.gz"):
            (folder / name).write_text("new")
        assert (tmp_path / "metrics.json").read_text() == "old"
    content = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert content == {"moved.nii.gz": "new", "metrics.json": "new", "warp.nii.gz": "new", "notes.txt": "old"}


def test_files_join_others_in_folders_of_a_folder(tmp_path: Path) -> None:
    for name in ("anat/moved.nii.gz", "anat/gone.h5", "anat/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    with whole_folder(tmp_path, last="anat/metrics.json", ours=["anat/gone.h5"]) as folder:
        for name in ("anat/moved.nii.gz", "anat/metrics.json", "figures/report.html"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("new")
    content = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.*")}
    new = dict.fromkeys(("anat/moved.nii.gz", "anat/metrics.json", "figures/report.html"), "new")
    assert content == new | {"anat/notes.txt": "old"}


@pytest.mark.parametrize("last", [None, "metrics.json"])
def test_failure_half_way_leaves_the_folder_as_it_was(tmp_path: Path, last: str | None) -> None:
    (tmp_path / "out").mkdir()
    if last:
        (tmp_path / "out" / last).write_text("old")

    def write_half() -> None:
        with whole_folder(tmp_path / "out", last) as folder:
            (folder / "metrics.json").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert {path.read_text() for path in (tmp_path / "out").iterdir()} == ({"old"} if last else set())
    assert names(tmp_path) == {"out"}


def test_files_may_go_to_the_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with whole_folder("..", last="metrics.json") as folder:
        (folder / "metrics.json").touch()
        assert names(tmp_path) > {"here"} and not (tmp_path / "metrics.json").exists()
    assert names(tmp_path) == {"here", "metrics.json"}


# --- checks before computing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "folder: a folder, not a file; give --output the name of a file"),
        ("out.mgz", "out.mgz: the output must be a .nii or .nii.gz file"),
        ("input.nii", "input.nii: would overwrite an input; choose another --output"),
        ("none/out.nii", "none: no such folder; make it or choose another --output"),
    ],
)
def test_output_that_must_not_be_written_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "input.nii").touch()
    with pytest.raises(InputError) as caught:
        check_output(str(tmp_path / name), [str(tmp_path / "input.nii")], (".nii", ".nii.gz"))
    assert str(caught.value) == f"{tmp_path}/{said}"
    check_output(str(tmp_path / "out.nii"), [str(tmp_path / "input.nii")], (".nii", ".nii.gz"))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("sub::1", "--output_dir sub::1: MONAI makes :: of a # in a path"),
        ("~/results", "--output_dir ~/results: ~ is not read as the home folder here"),
        ("", "--output_dir: empty"),
        (20240131, "--output_dir 20240131: read as int"),
    ],
)
def test_folder_that_was_meant_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: object, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        check_folder(path)
    assert str(caught.value).startswith(said)
    assert names(tmp_path) == set()


def test_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: a file, not a folder; choose another --output_dir"):
        check_folder(tmp_path / "file" / "below")
    check_folder(tmp_path / "new" / "below")
    assert names(tmp_path) == {"file"}
