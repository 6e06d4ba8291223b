"""Every kind of bad file ends in an InputError of one line that names the file."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, DivisiblePadd, Orientationd, ScaleIntensityd

from scripts.data import LoadScand, load_keypoints, load_label, load_scan
from scripts.world import InputError, find_input_error

AFFINE = np.array([[-1.0, 0, 0, 5], [0, 1.2, 0, -6], [0, 0, 1.5, 7], [0, 0, 0, 1]])  # LAS
Spoil = Callable[[Path], Path]


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def brain(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


def missing(path: Path) -> Path:
    return path


def zero_bytes(path: Path) -> Path:
    path.touch()
    return path


def text(path: Path) -> Path:
    path.write_text("not an image\nat all\n")
    return path


def truncated(path: Path) -> Path:
    save(path, brain(20, 20, 20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def corrupt(path: Path) -> Path:
    """Damage that still unpacks to the right length: only the checksum tells."""
    content = bytearray(save(path, brain(20, 20, 20)).read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)
    return path


def truncated_inside(path: Path) -> Path:
    """An intact gzip file around half an image."""
    raw = gzip.decompress(save(path, brain(20, 20, 20)).read_bytes())
    path.write_bytes(gzip.compress(raw[: len(raw) // 2]))
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def two_dimensional(path: Path) -> Path:
    return save(path, brain(8, 9))


def single_slice(path: Path) -> Path:
    return save(path, brain(8, 9, 1))


def several_volumes(path: Path) -> Path:
    return save(path, brain(8, 9, 10, 3))


def colour(path: Path) -> Path:
    return save(path, np.zeros((8, 9, 10), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


def complex_numbers(path: Path) -> Path:
    return save(path, brain(8, 9, 10).astype(np.complex64))


def not_a_number(path: Path) -> Path:
    array = brain(8, 9, 10)
    array[1, 2, 3] = np.nan
    return save(path, array)


def infinite(path: Path) -> Path:
    array = brain(8, 9, 10)
    array[1, 2, 3] = np.inf
    return save(path, array)


def empty(path: Path) -> Path:
    return save(path, np.zeros((8, 9, 10), dtype=np.uint8))


def constant(path: Path) -> Path:
    return save(path, np.full((8, 9, 10), 7, dtype=np.uint8))


def singular(path: Path) -> Path:
    save(path, brain(8, 9, 10))
    image = nib.load(path)
    header = image.header.copy()
    header["srow_x"] = header["srow_y"]
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, header), path)
    return path


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, "no such file"),
        (zero_bytes, "zero bytes"),
        (text, "cannot be read"),
        (truncated, "cut short"),
        (corrupt, "cut short"),
        (truncated_inside, "cut short"),
        (folder, "a folder"),
        (two_dimensional, "8x9"),
        (single_slice, "8x9x1"),
        (several_volumes, "8x9x10x3"),
        (colour, "RGB"),
        (complex_numbers, "complex64"),
        (not_a_number, "1 voxels are NaN"),
        (infinite, "1 voxels are NaN or infinite"),
        (empty, "empty"),
        (constant, "7"),
        (singular, "affine"),
    ],
)
def test_bad_image_is_one_line_naming_the_file(tmp_path: Path, spoil: Spoil, said: str) -> None:
    path = spoil(tmp_path / "scan.nii.gz")
    with pytest.raises(InputError) as caught:
        load_scan(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert "\n" not in message


def test_truncated_uncompressed_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", brain(20, 20, 20))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError, match="cut short"):
        load_scan(path)


def test_scaled_int16_is_read_in_its_real_unit(tmp_path: Path) -> None:
    array = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
    path = save(tmp_path / "scan.nii", array)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.5, 10.0], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    np.testing.assert_array_equal(load_scan(path)[0].numpy(), array * 0.5 + 10.0)


@pytest.mark.parametrize(
    ("suffix", "shape"),
    [(".nii", (8, 9, 10)), (".nii.gz", (8, 9, 10)), (".mgz", (8, 9, 10)), (".nii.gz", (8, 9, 10, 1))],
)
def test_formats_and_a_single_4d_volume_load_alike(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    array = brain(*shape)
    path = tmp_path / f"scan{suffix}"
    kind = nib.MGHImage if suffix == ".mgz" else nib.Nifti1Image
    nib.save(kind(array, AFFINE), path)
    image = load_scan(str(path))
    assert isinstance(image, MetaTensor)
    assert image.dtype == torch.float32
    assert image.shape == (1, 8, 9, 10)
    np.testing.assert_array_equal(image[0].numpy(), array.reshape(8, 9, 10))
    np.testing.assert_allclose(image.affine.numpy(), AFFINE, atol=1e-5)
    assert image.meta["filename_or_obj"] == str(path)


def test_label_map_stored_as_float_keeps_its_values(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 2036, (6, 5, 7))
    label = load_label(save(tmp_path / "label.nii.gz", array.astype(np.float32)))
    assert label.dtype == torch.int32
    np.testing.assert_array_equal(label[0].numpy(), array)


def test_image_given_as_label_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="whole numbers"):
        load_label(save(tmp_path / "label.nii.gz", brain(6, 5, 7)))


def test_empty_label_map_is_refused_but_a_full_one_is_fine(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every voxel is 0"):
        load_label(save(tmp_path / "zeros.nii.gz", np.zeros((6, 5, 7), np.uint8)))
    assert load_label(save(tmp_path / "ones.nii.gz", np.ones((6, 5, 7), np.uint8))).unique().tolist() == [1]


@pytest.mark.parametrize(
    "content",
    ["x,y,z\n1,2,3\n", "1,2\n3,4\n", "1,2,3\n4,5\n", "1,2,nan\n", "\n"],
    ids=["head", "2", "ragged", "nan", "no"],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_bad_keypoints_are_one_line_naming_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load_keypoints(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_label_off_the_grid_of_its_image_names_both(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii.gz", brain(6, 5, 7))
    labels = np.ones((6, 5, 7), np.uint8)
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.01
    load = LoadScand("image", label_keys="label")
    for label in (
        save(tmp_path / "shifted.nii.gz", labels, shifted),
        save(tmp_path / "smaller.nii.gz", labels[:, :, :5]),
    ):
        with pytest.raises(InputError) as caught:
            load({"image": image, "label": label})
        assert str(image) in str(caught.value)
        assert str(label) in str(caught.value)
        assert "\n" not in str(caught.value)
    within = AFFINE.copy()
    within[0, 3] += 1e-4
    assert "label" in load({"image": image, "label": save(tmp_path / "within.nii.gz", labels, within)})


def test_later_transforms_move_labels_and_points_with_the_image(tmp_path: Path) -> None:
    array = np.zeros((7, 9, 10), np.float32)
    array[2, 3, 4] = 1.0
    (tmp_path / "points.csv").write_text("2,3,4\n")
    data = {
        "image": save(tmp_path / "image.nii.gz", array),
        "label": save(tmp_path / "label.nii.gz", (array * 5).astype(np.uint8)),
        "points": tmp_path / "points.csv",
    }
    both = ["image", "label"]
    scan = Compose(
        [
            LoadScand("image", label_keys="label", keypoint_keys="points"),
            Orientationd(both, axcodes="RAS", labels=None),
            ScaleIntensityd("image"),
            DivisiblePadd(both, k=8),
        ]
    )(data)
    assert scan["image"].shape == scan["label"].shape == (1, 8, 16, 16)
    (index,) = torch.nonzero(scan["image"][0] == 1.0).tolist()
    assert int(scan["label"][0][tuple(index)]) == 5
    world = scan["image"].affine @ torch.tensor([*index, 1.0], dtype=torch.float64)
    torch.testing.assert_close(scan["points"][0], world[:3].as_subclass(torch.Tensor))


def test_missing_labels_are_passed_over_and_missing_images_only_on_demand(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii.gz", brain(6, 5, 7))
    keys = ["fixed", "moving"]
    assert set(LoadScand(keys, ["a", "b"], allow_missing_keys=True)({"fixed": image})) == {"fixed"}
    with pytest.raises(KeyError):
        LoadScand(keys)({"fixed": image})
    with pytest.raises(ValueError, match="one key for each"):
        LoadScand(keys, label_keys="label")


def test_input_error_stays_findable_inside_compose(tmp_path: Path) -> None:
    path = tmp_path / "missing.nii.gz"
    with pytest.raises(RuntimeError) as caught:
        Compose([Compose([LoadScand("image")])])({"image": path})
    found = find_input_error(caught.value)
    assert found is not None
    assert str(path) in str(found)
    assert find_input_error(RuntimeError("other")) is None
