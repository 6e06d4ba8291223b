"""Scans as MONAI's transforms get them."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, DivisiblePadd, Orientationd, ScaleIntensityd

from scripts.datasets.loading import LoadScand, load_label, load_scan
from scripts.runtime.errors import InputError, find_input_error

Save = Callable[..., Path]
Noise = Callable[..., np.ndarray]


@pytest.mark.parametrize(
    ("name", "size"),
    [("s.nii", (8, 9, 10)), ("s.nii.gz", (8, 9, 10)), ("s.mgz", (8, 9, 10)), ("s.nii.gz", (8, 9, 10, 1))],
)
def test_formats_and_a_single_4d_volume_load_alike(
    save: Save, noise: Noise, las: np.ndarray, name: str, size: tuple[int, ...]
) -> None:
    path = save(name, noise(*size))
    image = load_scan(str(path))
    assert isinstance(image, MetaTensor)
    assert image.dtype == torch.float32
    assert image.shape == (1, 8, 9, 10)
    np.testing.assert_array_equal(image[0].numpy(), noise(*size).reshape(8, 9, 10))
    assert image.affine.dtype == torch.float64
    np.testing.assert_allclose(image.affine.numpy(), las, atol=1e-5)
    assert image.meta["filename_or_obj"] == str(path)


def test_label_map_stored_as_float_is_int32(save: Save) -> None:
    array = np.random.default_rng(0).integers(0, 2036, (6, 5, 7))
    label = load_label(save("label.nii.gz", array.astype(np.float32)))
    assert label.dtype == torch.int32
    np.testing.assert_array_equal(label[0].numpy(), array)


def test_labels_that_cannot_be_warped_are_refused(save: Save) -> None:
    array = np.ones((6, 5, 7), np.int32)
    array[0, 0, 0] = 2**24 - 1
    assert int(load_label(save("label.nii.gz", array)).max()) == 2**24 - 1
    with pytest.raises(InputError, match="2\\^24 or more"):
        load_label(save("label.nii.gz", array + 1))


def test_datasets_need_no_forms(save: Save, noise: Noise, caplog: pytest.LogCaptureFixture) -> None:
    image = save("image.nii", noise(8, 9, 10), sform_code=0)
    label = save("label.nii", np.ones((8, 9, 10), np.uint8), sform_code=0)
    loaded = LoadScand("image", label_keys="label")({"image": image, "label": label})
    assert bool((loaded["label"] == 1).all())
    torch.testing.assert_close(loaded["image"].affine, loaded["label"].affine)
    assert caplog.messages == []


def test_what_is_odd_is_logged_in_one_line_and_once(save: Save, noise: Noise, caplog: pytest.LogCaptureFixture) -> None:
    array = noise(8, 9, 10)
    array[0, 0, 0] = np.nan
    path = save("scan.nii.gz", array)
    for _ in range(2):
        load_scan(path)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"{path}: 1 voxels (0.14 %) are NaN or infinite; replaced by 0"


def test_label_off_the_grid_of_its_image_is_resampled_and_logged(
    save: Save, noise: Noise, las: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    array = np.zeros((8, 9, 10), np.uint8)
    array[2:6, 2:6, 2:6] = 3
    las[1, 3] += 2 * 1.2
    label = save("label.nii.gz", array, las)
    data = {"image": save("image.nii.gz", noise(8, 9, 10)), "label": label}
    loaded = LoadScand("image", label_keys="label")(data)
    assert loaded["label"].dtype == torch.int32
    np.testing.assert_array_equal(loaded["label"][0, :, 2:].numpy(), array[:, :-2])
    torch.testing.assert_close(loaded["label"].affine, loaded["image"].affine)
    assert [message for message in caplog.messages if str(label) in message and "resampled" in message]
    las[1, 3] += 100
    with pytest.raises(InputError, match="does not overlap"):
        LoadScand("image", label_keys="label")({**data, "label": save("far.nii.gz", array, las)})


def test_later_transforms_move_labels_and_points_with_the_image(tmp_path: Path, save: Save) -> None:
    array = np.zeros((7, 9, 10), np.float32)
    array[2, 3, 4] = 1.0
    (tmp_path / "points.csv").write_text("2,3,4\n")
    data = {
        "image": save("image.nii.gz", array),
        "label": save("label.nii.gz", (array * 5).astype(np.uint8)),
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


def test_missing_labels_are_passed_over_and_missing_images_only_on_demand(save: Save, noise: Noise) -> None:
    image = save("image.nii.gz", noise(6, 5, 7))
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
