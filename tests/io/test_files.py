# SPDX-License-Identifier: Apache-2.0
"""A file that is not there, or only a pointer to it, is refused in one line that names it and what to do."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from scripts.geometry import Grid
from scripts.io import (
    existing_file,
    file_sha256,
    load_keypoints,
    load_weights,
    open_series,
    outline_sha256,
    read_grid,
    read_label,
    read_points,
    read_scan,
    read_transform,
)
from scripts.registration.jobs import registration_jobs
from scripts.runtime import InputError

GRID = Grid((6, 7, 8), np.eye(4))
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "scan": ("scan.nii.gz", read_scan),
    "label map": ("labels.mgz", read_label),
    "series": ("series.nii", open_series),
    "grid": ("reference.nii.gz", read_grid),
    "field": ("warp.nii.gz", lambda path: read_transform(path, "itk")),
    "field in voxels": ("disp.nii.gz", lambda path: read_transform(path, "learn2reg", GRID, GRID)),
    "ITK transform": ("affine.mat", read_transform),
    "composite": ("transform.h5", read_transform),
    "landmarks": ("points.csv", read_points),
    "keypoints": ("keypoints.csv", load_keypoints),
    "list of pairs": ("pairs.csv", lambda path: registration_jobs("out", {}, pairs=str(path))),
    "JSON list of pairs": ("pairs.json", lambda path: registration_jobs("out", {}, pairs=str(path))),
}


def missing(path: Path) -> None:
    pass


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


def zero_bytes(path: Path) -> None:
    path.touch()


def folder(path: Path) -> None:
    path.mkdir()


def lfs_pointer(path: Path) -> None:
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n")


def annex_link(path: Path) -> None:
    path.symlink_to("../.git/annex/objects/7P/Kx/SHA256E-s12345--00.nii.gz/SHA256E-s12345--00.nii.gz")


def annex_pointer(path: Path) -> None:
    """Of an unlocked file."""
    path.write_text("/annex/objects/SHA256E-s12345--00.nii.gz\n")


def annex_link_as_text(path: Path) -> None:
    """As git writes links on file systems without them."""
    path.write_text("../../.git/annex/objects/7P/Kx/MD5E-s12--00.nii.gz/MD5E-s12--00.nii.gz")


def broken_link(path: Path) -> None:
    path.symlink_to("../moved_away/scan.nii.gz")


def circular_link(path: Path) -> None:
    path.symlink_to(path.name)


def below_a_broken_link(path: Path) -> None:
    path.parent.rmdir()
    path.parent.symlink_to("/mnt/not_mounted/study")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, "no such file"),
        (below_a_file, "no such file"),
        (zero_bytes, "the file has zero bytes; copy or download it again"),
        (folder, "a folder, not a file; give the path of a file"),
        (lfs_pointer, "a pointer of Git LFS, its content is not here; get it with `git lfs pull`"),
        (annex_link, "a pointer of git-annex, its content is not here; get it with `datalad get`"),
        (annex_pointer, "a pointer of git-annex, its content is not here; get it with `datalad get`"),
        (annex_link_as_text, "a pointer of git-annex, its content is not here; get it with `datalad get`"),
        (broken_link, "a broken link, to ../moved_away/scan.nii.gz, which is not there"),
        (circular_link, "a broken link, to "),
        (below_a_broken_link, "a broken link at "),
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_says_the_same_of_a_file_that_is_not_there(
    tmp_path: Path, reader: str, spoil: Callable[[Path], None], said: str
) -> None:
    (tmp_path / "data").mkdir()
    name, read = READERS[reader]
    path = tmp_path / "data" / name
    spoil(path)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, "no such file; train first"),
        (below_a_file, "no such file; train first"),
        (zero_bytes, "not a file of weights"),
        (folder, "not a file of weights"),
        (lfs_pointer, "get it with `git lfs pull`"),
        (annex_link, "get it with `datalad get`"),
        (annex_pointer, "get it with `datalad get`"),
        (broken_link, "a broken link, to ../moved_away/scan"),
    ],
)
def test_weights_that_are_not_there_say_so(tmp_path: Path, name: str, spoil: Callable[[Path], None], said: str) -> None:
    (tmp_path / "data").mkdir()
    spoil(tmp_path / "data" / name)
    with pytest.raises(InputError, match=said):
        load_weights(nn.Linear(1, 1), tmp_path / "data" / name)


def test_link_of_git_annex_to_content_that_is_there_is_followed(tmp_path: Path) -> None:
    content = tmp_path / ".git" / "annex" / "objects" / "key"
    content.parent.mkdir(parents=True)
    content.write_bytes(b"content")
    (tmp_path / "scan.nii").symlink_to(content)
    assert existing_file(tmp_path / "scan.nii").read_bytes() == b"content"


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions as on Unix")
def test_file_that_may_not_be_read_says_so() -> None:
    with tempfile.NamedTemporaryFile(suffix=".nii") as file:  # not tmp_path: others than its owner may not enter that
        file.write(b"something")
        file.flush()
        os.chmod(file.name, 0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may read everything
        try:
            with pytest.raises(InputError) as caught:
                existing_file(file.name)
        finally:
            os.seteuid(user)
    assert str(caught.value) == f"{file.name}: cannot be opened (Permission denied); check its permissions"


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scan.nii").write_bytes(b"content")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert existing_file("~/scan.nii") == tmp_path / "scan.nii"


def test_outline_tells_files_apart_by_what_is_anywhere_in_their_main_parts(tmp_path: Path) -> None:
    content = bytes(range(256)) * 400
    changed = {"": content}
    for place in (0, len(content) // 2 + 5, len(content) - 1):
        changed[str(place)] = content[:place] + b"x" + content[place + 1 :]
    changed["longer"] = content + b"\0"
    for name, text in changed.items():
        (tmp_path / f"file{name}").write_bytes(text)
    files = [tmp_path / f"file{name}" for name in changed]
    assert len({outline_sha256([file]) for file in files}) == len(files)
    assert outline_sha256(files) != outline_sha256(files[::-1])
    copy = tmp_path / "elsewhere"
    copy.write_bytes(content)
    assert outline_sha256([copy]) == outline_sha256(files[:1])


def test_sha256_is_that_of_the_whole_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    with pytest.raises(InputError, match="no such file"):
        file_sha256(tmp_path / "other")
