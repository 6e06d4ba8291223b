# SPDX-License-Identifier: Apache-2.0
"""Files of scans as tensors."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, DivisiblePadd, Orientationd, ScaleIntensityd

from scripts.datasets.intensity import ScaleForegroundd
from scripts.datasets.loading import LoadScand, load_label
from scripts.runtime.errors import InputError, find_input_error

Save = Callable[..., Path]
Noise = Callable[..., np.ndarray]
Log = pytest.LogCaptureFixture


@pytest.mark.parametrize(
    ("name", "size"),
    [("s.nii", (8, 9, 10)), ("s.nii.gz", (8, 9, 10)), ("s.mgz", (8, 9, 10)), ("s.nii.gz", (8, 9, 10, 1))],
)
def test_formats_load_equally(save: Save, noise: Noise, las: np.ndarray, name: str, size: tuple[int, ...]) -> None:
    path = save(name, noise(*size))
    image = LoadScand("image")({"image": path})["image"]
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


def test_scans_without_orientation_are_taken_as_ras(save: Save, noise: Noise, caplog: Log) -> None:
    image = save("image.nii", noise(8, 9, 10), sform_code=0)
    label = save("label.nii", np.ones((8, 9, 10), np.uint8), sform_code=0)
    loaded = LoadScand("image", label_keys="label")({"image": image, "label": label})
    assert bool((loaded["label"] == 1).all())
    torch.testing.assert_close(loaded["image"].affine, loaded["label"].affine)
    assert caplog.messages == []


def test_warning_about_a_file_is_logged_once(save: Save, noise: Noise, caplog: Log) -> None:
    array = noise(8, 9, 10)
    array[0, 0, 0] = np.nan
    path = save("scan.nii.gz", array)
    for _ in range(2):
        LoadScand("image")({"image": path})
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        record.getMessage()
        == f"{path}: 1 voxels (0.14 %) around what it shows are NaN or infinite; taken as background (0)"
    )


def test_nan_around_a_brain_is_background_in_training_too(save: Save, blob: Callable) -> None:
    array = blob((20, 22, 19)).astype(np.float32)
    paths = {"image": save("scan.nii.gz", np.where(array > 0, array, np.nan)), "twin": save("twin.nii.gz", array)}
    loaded = Compose([LoadScand(paths.keys()), ScaleForegroundd(paths.keys())])(paths)
    torch.testing.assert_close(loaded["image"], loaded["twin"])
    assert 0 < float((loaded["image"] > 0).float().mean()) < 0.5


def test_hole_in_a_brain_is_refused_in_training_too(save: Save, blob: Callable) -> None:
    array = blob((20, 22, 19)).astype(np.float32)
    array[8:13, 9:14, 8:13] = np.inf
    path = save("scan.nii.gz", array)
    with pytest.raises(InputError, match=r"scan\.nii\.gz: 125 voxels .* inside what it shows are NaN or infinite"):
        LoadScand("image")({"image": path})


def test_label_map_on_another_grid_is_resampled(save: Save, noise: Noise, las: np.ndarray, caplog: Log) -> None:
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


def test_labels_and_points_stay_aligned_after_other_transforms(tmp_path: Path, save: Save) -> None:
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


def test_labels_are_optional_and_images_are_not(save: Save, noise: Noise) -> None:
    image = save("image.nii.gz", noise(6, 5, 7))
    assert set(LoadScand("image", "label", "points")({"image": image})) == {"image"}
    with pytest.raises(KeyError):
        LoadScand(["fixed", "moving"])({"fixed": image})


def test_each_image_key_needs_its_own_label_key() -> None:
    with pytest.raises(ValueError, match="one key for each"):
        LoadScand(["fixed", "moving"], label_keys="label")


def test_input_error_is_found_inside_the_errors_of_compose(tmp_path: Path) -> None:
    path = tmp_path / "missing.nii.gz"
    with pytest.raises(RuntimeError) as caught:
        Compose([Compose([LoadScand("image")])])({"image": path})
    found = find_input_error(caught.value)
    assert found is not None
    assert str(path) in str(found)
    assert find_input_error(RuntimeError("other")) is None
