# SPDX-License-Identifier: Apache-2.0
"""Everything that writes a file leaves it whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.geometry import Field, Grid
from scripts.io import (
    Points,
    open_series,
    save_affine,
    save_composite,
    save_image,
    save_itk_field,
    save_series,
    write_complete,
    write_points,
    write_safetensors,
    write_table,
    write_transform,
)
from scripts.runtime import InputError

GRID = Grid((5, 6, 7), np.eye(4))
FIELD = Field(np.zeros((*GRID.shape, 3), np.float32), GRID.affine)
IMAGE = np.zeros(GRID.shape, np.float32)


def write_series(path: Path) -> None:
    save_image(path.with_name("input.nii"), IMAGE, GRID.affine)
    series = open_series(path.with_name("input.nii"))
    path.with_name("input.nii").unlink()
    save_series(path, [IMAGE], GRID, series)


def write_weights(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path.with_name("input.pt"))
    try:
        write_safetensors(str(path.with_name("input.pt")), str(path))
    finally:
        path.with_name("input.pt").unlink()


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "image": ("image.nii.gz", lambda path: save_image(path, IMAGE, GRID.affine)),
    "plain image": ("image.nii", lambda path: save_image(path, IMAGE, GRID.affine)),
    "series": ("series.nii.gz", write_series),
    "field": ("warp.nii.gz", lambda path: save_itk_field(path, FIELD.displacement, GRID.affine)),
    "converted field": ("disp.nii.gz", lambda path: write_transform(path, FIELD, "learn2reg", GRID, GRID)),
    "affine": ("affine.mat", lambda path: save_affine(path, np.eye(4))),
    "composite": ("transform.h5", lambda path: save_composite(path, np.eye(4), FIELD)),
    "landmarks": ("points.csv", lambda path: write_points(path, Points(["a"], np.zeros((1, 3))))),
    "table": ("table.csv", lambda path: write_table([{"pair": "a", "dice": 1.0}], path.with_suffix(""))),
    "text": ("notes.md", lambda path: write_complete(path, lambda file: print("notes", file=file))),
    "weights": ("model.safetensors", write_weights),
}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("writer", WRITERS)
def test_file_replaces_an_older_one_and_leaves_nothing_beside_it(tmp_path: Path, writer: str) -> None:
    name, write = WRITERS[writer]
    (tmp_path / name).write_bytes(b"old")
    write(tmp_path / name)
    assert (tmp_path / name).read_bytes() not in (b"old", b"")
    assert names(tmp_path) - {"table.json"} == {name}


@pytest.mark.parametrize("writer", WRITERS)
def test_file_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path, writer: str) -> None:
    """There is a folder of its name: the very last step fails."""
    name, write = WRITERS[writer]
    (tmp_path / name).mkdir()
    with pytest.raises(InputError) as caught:
        write(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: cannot be written (")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == {name}


@pytest.mark.parametrize("writer", WRITERS)
def test_file_mode_follows_the_umask(tmp_path: Path, writer: str) -> None:
    name, write = WRITERS[writer]
    (tmp_path / "plain").touch()
    write(tmp_path / name)
    assert (tmp_path / name).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_full_disk_in_the_middle_of_an_image_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real writer, stopped by the file system after the header."""
    write, written = nib.openers.Opener.write, []

    def fill(opener: nib.openers.Opener, data: bytes) -> int:
        written.append(len(data))
        if sum(written) > 1000:
            raise OSError(28, "No space left on device")
        return write(opener, data)

    monkeypatch.setattr(nib.openers.Opener, "write", fill)
    with pytest.raises(InputError, match=r"warp\.nii\.gz: cannot be written \(No space left on device\)"):
        save_itk_field(tmp_path / "warp.nii.gz", FIELD.displacement, GRID.affine)
    assert written and names(tmp_path) == set()


def test_folder_of_a_text_is_made_and_that_of_an_image_is_not(tmp_path: Path) -> None:
    write_complete(tmp_path / "a" / "b" / "notes.md", lambda file: print("notes", file=file))
    assert (tmp_path / "a" / "b" / "notes.md").read_text() == "notes\n"
    with pytest.raises(InputError, match="cannot be written"):
        save_image(tmp_path / "c" / "image.nii", IMAGE, GRID.affine)
    assert names(tmp_path) == {"a"}
