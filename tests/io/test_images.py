# SPDX-License-Identifier: Apache-2.0
"""What is no image, or not the kind of image that is wanted, is refused in one line that says what to do."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.geometry import Grid
from scripts.io import open_image, open_series, read_grid, read_label, read_mask, read_scan, read_transform
from scripts.runtime import InputError

Save = Callable[..., Path]
Noise = Callable[..., np.ndarray]

GRID = Grid((8, 9, 10), np.eye(4))
IMAGE_READERS: dict[str, Callable[[Path], object]] = {
    "scan": read_scan,
    "label map": read_label,
    "series": open_series,
    "grid": read_grid,
}
READERS: dict[str, Callable[[Path], object]] = {
    **IMAGE_READERS,
    "field": lambda path: read_transform(path, "itk"),
    "field in voxels": lambda path: read_transform(path, "learn2reg", GRID, GRID),
}
DICOM = b"\0" * 128 + b"DICM" + b"\0" * 500


def text(path: Path) -> None:
    path.write_text("not an image\nat all\n")


def web_page(path: Path) -> None:
    path.write_text("\n<!DOCTYPE html>\n<html><body>Please log in</body></html>")


def plain_web_page(path: Path) -> None:
    path.write_text("<HTML><head></head></HTML>")


def dicom_folder(path: Path) -> None:
    (path / "series").mkdir(parents=True)
    (path / "series" / "notes.txt").write_text("short")
    (path / "series" / "IM0001").write_bytes(DICOM)


def dicom_file(path: Path) -> None:
    path.write_bytes(DICOM)


# --- no image ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.mgz", "scan.dcm", "scan"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (text, "cannot be read as an image"),
        (web_page, "a web page, not an image; did the download want a login?"),
        (plain_web_page, "a web page"),
        (dicom_folder, "a folder of DICOM files; convert it to NIfTI with dcm2niix"),
        (dicom_file, "a DICOM file; convert the folder of its series to NIfTI with dcm2niix"),
    ],
)
def test_what_is_no_image_is_one_line(tmp_path: Path, spoil: Callable[[Path], None], name: str, said: str) -> None:
    path = tmp_path / name
    spoil(path)
    with pytest.raises(InputError) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"{path}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("spoil", "said"), [(text, "cannot be read as an image"), (web_page, "a web page"), (dicom_folder, "dcm2niix")]
)
def test_every_reader_says_the_same_of_it(
    tmp_path: Path, reader: str, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match=rf"image\.nii\.gz: .*{said}"):
        READERS[reader](tmp_path / "image.nii.gz")


def test_surface_is_refused_by_its_kind(tmp_path: Path) -> None:
    array = nib.gifti.GiftiDataArray(np.zeros((4, 3), np.float32))
    nib.save(nib.gifti.GiftiImage(darrays=[array]), tmp_path / "brain.gii")
    with pytest.raises(InputError, match="not a volume but GiftiImage"):
        open_image(tmp_path / "brain.gii")


@pytest.mark.parametrize(("name", "position"), [("scan.nii", 70), ("scan.mgh", 20)])
def test_nonsense_in_a_header_is_one_line(save: Save, noise: Noise, tmp_path: Path, name: str, position: int) -> None:
    """An unknown type of numbers, where the header has its code."""
    content = bytearray(gzip.decompress(save("scan.mgz", noise(8, 9, 10)).read_bytes()))
    if name == "scan.nii":
        content = bytearray(save(name, noise(8, 9, 10)).read_bytes())
    content[position : position + 4] = b"\x7f\x7f\x7f\x7f"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as an image") as caught:
        open_image(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", [name for name in READERS if name != "grid"])  # which reads the header alone
def test_damaged_gzip_is_refused_by_every_reader_of_values(save: Save, noise: Noise, reader: str) -> None:
    shape = (8, 9, 10, 1, 3) if reader == "field" else (8, 9, 10, 3) if "field" in reader else (8, 9, 10)
    path = save("image.nii.gz", noise(*shape).round())
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"image\.nii\.gz: the file is damaged or cut short"):
        READERS[reader](path)


# --- another file than its name says ----------------------------------------------------------------------------------

PAIRS: dict[str, type] = {"pair": nib.Nifti1Pair, "spm": nib.Spm99AnalyzeImage, "analyze": nib.AnalyzeImage}


def renamed(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("scan.nii", "scan.nii.gz", "not compressed, though its name ends in .nii.gz; rename it to end in .nii"),
        ("scan.nii.gz", "scan.nii", "compressed with gzip, though its name ends in .nii; rename it to end in .nii.gz"),
        ("scan.nii", "SCAN.NII.GZ", "not compressed"),
        ("scan.nii.gz", "sub-01_T1w.NII", "compressed with gzip"),
        ("scan.mgz", "scan.mgh", "compressed with gzip, though its name ends in .mgh; rename it to end in .mgz"),
    ],
)
def test_compression_that_the_name_denies(
    save: Save, noise: Noise, reader: str, name: str, wrong: str, said: str
) -> None:
    path = renamed(save(name, noise(8, 9, 10)), wrong)
    with pytest.raises(InputError) as caught:
        READERS[reader](path)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image, nib.MGHImage])
@pytest.mark.parametrize("order", ["<", ">"])
def test_plain_files_of_any_kind_and_byte_order_are_told(tmp_path: Path, noise: Noise, kind: type, order: str) -> None:
    plain, packed = (".mgh", ".mgz") if kind is nib.MGHImage else (".nii", ".nii.gz")
    if kind is nib.MGHImage:
        image = nib.MGHImage(noise(8, 9, 10), np.eye(4))
    else:
        image = kind(noise(8, 9, 10), np.eye(4), kind.header_class(endianness=order))
    nib.save(image, tmp_path / f"scan{plain}")
    assert open_image(tmp_path / f"scan{plain}").shape == (8, 9, 10)
    with pytest.raises(InputError, match=f"not compressed, .* rename it to end in {plain}$"):
        open_image(renamed(tmp_path / f"scan{plain}", f"scan{packed}"))


def test_archive_with_the_name_of_an_image_is_told(tmp_path: Path, save: Save, noise: Noise) -> None:
    with zipfile.ZipFile(tmp_path / "scan.nii.gz", "w") as archive:
        archive.write(save("scan.nii", noise(8, 9, 10)))
    with pytest.raises(InputError, match="a ZIP archive; unpack it"):
        open_image(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(("given", "missing"), [(".img", ".hdr"), (".hdr", ".img")])
def test_one_of_two_files_alone(tmp_path: Path, noise: Noise, kind: str, packed: str, given: str, missing: str) -> None:
    nib.save(PAIRS[kind](noise(8, 9, 10), np.eye(4)), tmp_path / f"scan.img{packed}")
    path, partner = (tmp_path / f"scan{ending}{packed}" for ending in (given, missing))
    assert open_image(path).shape == (8, 9, 10)
    partner.unlink()
    what = "its header" if missing == ".hdr" else "the file of its voxels"
    with pytest.raises(InputError) as caught:
        open_image(path)
    said = f"one of the two files of an image; {what}, {partner.name}, is not beside it; add it"
    assert str(caught.value) == f"{path}: {said}"


def test_partner_that_is_a_pointer_is_named(tmp_path: Path, noise: Noise) -> None:
    nib.save(nib.Nifti1Pair(noise(8, 9, 10), np.eye(4)), tmp_path / "scan.img")
    (tmp_path / "scan.hdr").unlink()
    (tmp_path / "scan.hdr").symlink_to(".git/annex/objects/MD5E-s348--0.hdr")
    with pytest.raises(InputError, match=r"scan\.hdr: a pointer of git-annex"):
        open_image(tmp_path / "scan.img")


@pytest.mark.parametrize("given", ["scan+orig.HEAD", "scan+orig.BRIK"])
def test_half_of_an_image_of_afni(tmp_path: Path, given: str) -> None:
    (tmp_path / given).write_text("type = string-attribute\n")
    with pytest.raises(InputError, match="one of the two files of an image"):
        open_image(tmp_path / given)


# --- another kind of image --------------------------------------------------------------------------------------------

RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((8, 9)), "a 2-D image (8x9); give a 3-D volume"),
        (np.ones((8, 9, 1)), "a 2-D image (8x9x1)"),
        (np.ones((8, 1, 9, 4)), "a 2-D image (8x1x9x4)"),
        (np.ones((40, 1, 1)), "a 1-D image (40x1x1)"),
        (np.ones((8, 9, 4)), "only 4 voxels along an axis (8x9x4); give at least 5"),
        (np.zeros((8, 9, 10), RGB), "a color (RGB) image of 8x9x10 voxels"),
        (np.ones((8, 9, 10), np.complex64), "voxels of type complex64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("reader", IMAGE_READERS)
def test_other_than_volumes_of_real_numbers_is_refused(save: Save, reader: str, array: np.ndarray, said: str) -> None:
    path = save("scan.nii", array)
    with pytest.raises(InputError) as caught:
        IMAGE_READERS[reader](path)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("reader", IMAGE_READERS)
@pytest.mark.parametrize("intent", [1006, 1007])
def test_displacement_field_is_no_image(save: Save, noise: Noise, reader: str, intent: int) -> None:
    with pytest.raises(InputError, match="a displacement field, not an image; give a 3-D volume"):
        IMAGE_READERS[reader](save("warp.nii", noise(8, 9, 10, 1, 3), intent_code=intent))


def test_mask_is_opened_as_a_label_map(save: Save, noise: Noise) -> None:
    scan = read_scan(save("scan.nii", noise(8, 9, 10)))
    with pytest.raises(InputError, match="a 2-D image"):
        read_mask(save("mask.nii", np.ones((8, 9, 1))), scan)


def test_surface_data_in_mgz_are_refused(save: Save, noise: Noise) -> None:
    with pytest.raises(InputError, match="1-D image"):
        read_scan(save("thickness.mgz", noise(200, 1, 1)))


@pytest.mark.parametrize("kind", ["itk", "fsl", "learn2reg"])
def test_field_of_other_than_real_numbers_is_refused(save: Save, kind: str) -> None:
    path = save("warp.nii", np.zeros((8, 9, 10, 1, 3), np.complex64))
    with pytest.raises(InputError, match=r"warp\.nii: not a field: its voxels are of type complex64"):
        read_transform(path, kind, GRID, GRID)
