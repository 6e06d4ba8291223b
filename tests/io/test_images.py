"""What is no image file is refused in one line that names it and what to do."""

import gzip
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.io.images import file_sha256, open_image
from scripts.runtime.errors import InputError

DICOM = b"\0" * 128 + b"DICM" + b"\0" * 500


def missing(path: Path) -> None:
    pass


def zero_bytes(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("not an image\nat all\n")


def web_page(path: Path) -> None:
    path.write_text("\n<!DOCTYPE html>\n<html><body>Please log in</body></html>")


def plain_web_page(path: Path) -> None:
    path.write_text("<HTML><head></head></HTML>")


def folder(path: Path) -> None:
    path.mkdir()


def dicom_folder(path: Path) -> None:
    (path / "series").mkdir(parents=True)
    (path / "series" / "notes.txt").write_text("short")
    (path / "series" / "IM0001").write_bytes(DICOM)


def dicom_file(path: Path) -> None:
    path.write_bytes(DICOM)


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


def surface(path: Path) -> None:
    array = nib.gifti.GiftiDataArray(np.zeros((4, 3), np.float32))
    nib.save(nib.gifti.GiftiImage(darrays=[array]), path.with_suffix(".gii"))
    path.with_suffix(".gii").rename(path)


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.mgz", "scan.dcm", "scan"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, "no such file"),
        (below_a_file, "no such file"),
        (zero_bytes, "zero bytes"),
        (text, "cannot be read"),
        (web_page, "a web page, not an image; did the download want a login?"),
        (plain_web_page, "a web page"),
        (folder, "a folder, not a file"),
        (dicom_folder, "dcm2niix"),
        (dicom_file, "dcm2niix"),
    ],
)
def test_what_is_no_image_is_one_line(tmp_path: Path, spoil: Callable[[Path], None], name: str, said: str) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / name
    spoil(path)
    with pytest.raises(InputError) as caught:
        open_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert "\n" not in message


def test_surface_is_refused_by_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "brain.gii"
    surface(path)
    with pytest.raises(InputError, match="not a volume but GiftiImage"):
        open_image(path)


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((8, 9)), "2-D image (8x9)"),
        (np.ones((8, 9, 1)), "2-D image (8x9x1)"),
        (np.ones((8, 1, 9, 4)), "2-D image (8x1x9x4)"),
        (np.ones((40, 1, 1)), "1-D image (40x1x1)"),
        (np.ones((8, 9, 4)), "only 4 voxels along an axis (8x9x4); give at least 5"),
        (np.zeros((8, 9, 10), RGB), "RGB"),
        (np.ones((8, 9, 10), np.complex64), "complex64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_than_a_volume_of_real_numbers_is_refused(
    save: Callable[..., Path], array: np.ndarray, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        open_image(save("scan.nii", array))
    assert said in str(caught.value)


@pytest.mark.parametrize(("name", "position"), [("scan.nii", 70), ("scan.mgh", 20)])
def test_nonsense_in_a_header_is_one_line(
    save: Callable[..., Path], noise: Callable[..., np.ndarray], tmp_path: Path, name: str, position: int
) -> None:
    """An unknown type of numbers, where the header has its code."""
    content = bytearray(gzip.decompress(save("scan.mgz", noise(8, 9, 10)).read_bytes()))
    if name == "scan.nii":
        content = bytearray(save(name, noise(8, 9, 10)).read_bytes())
    content[position : position + 4] = b"\x7f\x7f\x7f\x7f"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as an image") as caught:
        open_image(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_surface_data_in_mgz_are_refused(save: Callable[..., Path], noise: Callable[..., np.ndarray]) -> None:
    with pytest.raises(InputError, match="1-D image"):
        open_image(save("thickness.mgz", noise(200, 1, 1)))


@pytest.mark.parametrize("intent", [1006, 1007])
def test_displacement_field_is_no_image(
    save: Callable[..., Path], noise: Callable[..., np.ndarray], intent: int
) -> None:
    with pytest.raises(InputError, match="displacement field"):
        open_image(save("warp.nii", noise(8, 9, 10, 1, 3), intent_code=intent))


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
                open_image(file.name)
        finally:
            os.seteuid(user)
    assert str(caught.value) == f"{file.name}: cannot be opened (Permission denied); check its permissions"


def test_sha256_is_that_of_the_whole_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    with pytest.raises(InputError, match="no such file"):
        file_sha256(tmp_path / "other")
