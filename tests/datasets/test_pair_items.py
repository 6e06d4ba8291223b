# SPDX-License-Identifier: Apache-2.0
"""Items of a pair dataset: keys, shapes, types, and pairs that do not fit together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose, DivisiblePadd, Orientationd, ScaleIntensityd

from scripts.datasets.loading import LoadScand
from scripts.datasets.pairs import PairDataset
from scripts.runtime.errors import InputError

LAS = np.diag([-2.0, 2.0, 2.0, 1.0])


def prepare() -> Compose:
    both = ["image", "label"]
    return Compose(
        [
            LoadScand("image", "label", "keypoints"),
            Orientationd(both, axcodes="RAS", labels=None),
            ScaleIntensityd("image"),
            DivisiblePadd(both, k=4),
        ]
    )


def test_item_has_the_fixed_scan_first_on_its_grid(scan_files: Callable) -> None:
    scans = [scan_files(number, LAS) for number in (1, 3)]
    item = PairDataset(scans, prepare())[0]
    assert isinstance(item["image"], MetaTensor)
    assert item["image"].dtype == torch.float32
    assert item["image"].meta["filename_or_obj"] == scans[0]["image"]
    for channel, role, number in ((0, "fixed", 1), (1, "moving", 3)):
        peak = torch.nonzero(item["image"][channel] == 1.0).tolist()
        # x is flipped to RAS; y and z are padded from 9 and 10 to 12, by 1 voxel at the start.
        assert peak == [[7 - number, 2, 3]]
        label = item[f"{role}_label"]
        assert label.dtype == torch.int32
        assert torch.nonzero(label[0] == 700).tolist() == peak
        torch.testing.assert_close(item[f"{role}_keypoints"], torch.tensor(peak, dtype=torch.float32))


def test_images_are_exact_to_a_sixteenth_of_a_gray_level(save_scan: Callable) -> None:
    gray = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    # Only images within [-1, 1] are kept as float16.
    scans = [{"image": str(save_scan(name, image))} for name, image in (("a.nii", gray), ("b.nii", gray * 1000))]
    image = PairDataset(scans, Compose([LoadScand("image")]))[0]["image"]
    assert np.abs(image[0].numpy() - gray).max() < 1 / 255 / 16
    np.testing.assert_array_equal(image[1].numpy(), gray * 1000)


def test_changing_an_item_does_not_change_the_next_one(scan_files: Callable) -> None:
    dataset = PairDataset([scan_files(number) for number in range(2)], prepare())
    first = dataset[0]
    before = {key: value.clone() for key, value in first.items() if isinstance(value, torch.Tensor)}
    for key in before:
        first[key].zero_()
    for key, value in before.items():
        assert torch.equal(dataset[0][key], value), key


def test_labels_that_are_not_loaded_are_no_entries(scan_files: Callable) -> None:
    scans = [scan_files(number) for number in range(2)]
    item = PairDataset(scans, LoadScand("image"))[0]
    assert not [key for key in item if "label" in key]


@pytest.mark.parametrize("workers", [0, 1])
def test_items_of_different_formats_make_a_batch(scan_files: Callable, workers: int) -> None:
    scans = [scan_files(number, suffix=suffix) for number, suffix in enumerate([".nii.gz", ".mgz", ".nii"])]
    dataset = PairDataset(scans, prepare())
    batch = next(iter(DataLoader(dataset, batch_size=6, num_workers=workers)))
    assert batch["image"].shape == (6, 2, 8, 12, 12)
    assert batch["moving_label"].shape == (6, 1, 8, 12, 12)
    assert batch["fixed_keypoints"].shape == (6, 1, 3)
    assert batch["fixed_name"] == ["P_0", "P_0", "P_1", "P_1", "P_2", "P_2"]


@pytest.mark.parametrize("second", [{"size": (8, 9, 14)}, {"affine": np.diag([2.0, 2.0, 2.01, 1.0])}])
def test_scans_on_two_grids_are_refused_with_both_files(scan_files: Callable, second: dict[str, Any]) -> None:
    scans = [scan_files(0), scan_files(1, **second)]
    with pytest.raises(InputError, match="different grids; training and evaluation need scans on one grid") as caught:
        PairDataset(scans, prepare(), cache_rate=0)
    message = str(caught.value)
    assert all(scan["image"] in message for scan in scans)
    assert "8x12x12" in message
    assert "\n" not in message


def test_unequal_keypoints_are_refused(scan_files: Callable) -> None:
    scans = [scan_files(number) for number in range(2)]
    Path(scans[1]["keypoints"]).write_text("1,1,2\n2,2,2\n")
    with pytest.raises(InputError, match=r"1 keypoints .* has 2"):
        PairDataset(scans, prepare(), cache_rate=0)
