# SPDX-License-Identifier: Apache-2.0
"""Pairs of a dataset: which ones, how often their files are read, and transforms of scans and of pairs."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import (
    Compose,
    MapTransform,
    Orientationd,
    RandScaleIntensityd,
    RandSpatialCropd,
    ResizeWithPadOrCropd,
)

from scripts.datasets.loading import LoadScand
from scripts.datasets.pairs import PairDataset
from scripts.runtime.errors import InputError
from tests.datasets.conftest import RAS


class CountingLoad(MapTransform):
    """LoadScand that counts how often each image is read."""

    def __init__(self) -> None:
        super().__init__("image")
        self.load = LoadScand("image", label_keys="label", keypoint_keys="keypoints")
        self.loads: Counter[str] = Counter()

    def __call__(self, data: dict[str, Any]) -> dict[Any, Any]:
        self.loads[Path(data["image"]).name] += 1
        return self.load(data)


def test_scans_make_every_ordered_pair_and_are_read_once(scan_files: Callable) -> None:
    load = CountingLoad()
    scans = [scan_files(number) for number in range(4)]
    dataset = PairDataset(scans, Compose([load]))
    items = [dataset[index] for index in range(len(dataset))] * 2
    assert len(dataset) == 12
    pairs = Counter((item["fixed_name"], item["moving_name"]) for item in items)
    assert pairs == {(f"P_{i}", f"P_{j}"): 2 for i in range(4) for j in range(4) if i != j}
    assert load.loads == {f"P_{number}.nii.gz": 1 for number in range(4)}


def test_listed_pairs_keep_their_order_and_share_scans(scan_files: Callable) -> None:
    load = CountingLoad()
    a, b, c = (scan_files(number) for number in range(3))
    data = [{"fixed": c, "moving": a}, {"fixed": a, "moving": c}, {"fixed": b, "moving": a}]
    dataset = PairDataset(data, Compose([load]))
    names = [(dataset[index]["fixed_name"], dataset[index]["moving_name"]) for index in range(len(dataset))]
    assert names == [("P_2", "P_0"), ("P_0", "P_2"), ("P_1", "P_0")]
    assert set(load.loads.values()) == {1}
    assert dataset.data is data


def test_scans_outside_the_cache_are_read_at_every_use(scan_files: Callable) -> None:
    load = CountingLoad()
    scans = [scan_files(number) for number in range(2)]
    dataset = PairDataset(scans, Compose([load]), cache_rate=0.5)
    for index in (0, 1):
        assert dataset[index]["image"].shape == (2, 8, 9, 10)
    assert load.loads == {"P_0.nii.gz": 1, "P_1.nii.gz": 2}


def test_random_transforms_of_scans_are_not_cached(scan_files: Callable) -> None:
    load = CountingLoad()
    scans = [scan_files(number) for number in range(2)]
    transform = Compose([load, RandScaleIntensityd("image", factors=0.5, prob=1.0)])
    dataset = PairDataset(scans, transform)
    assert not torch.equal(dataset[0]["image"], dataset[0]["image"])
    assert set(load.loads.values()) == {1}


def test_pair_transform_follows_torchs_generator(tmp_path: Path) -> None:
    crop = RandSpatialCropd("image", roi_size=[3, 3, 3], random_size=False)
    data = [{"image": str(tmp_path / f"P_{number}.nii.gz")} for number in (1, 2)]
    # The value of a voxel is its index, in both images.
    index = np.arange(8 * 8 * 8, dtype=np.float32).reshape(8, 8, 8)
    for scan in data:
        nib.save(nib.Nifti1Image(index, np.eye(4)), scan["image"])
    pairs = PairDataset(data, LoadScand("image"), pair_transform=crop)
    torch.manual_seed(1)
    boxes = [pairs[0]["image"] for _ in range(8)]
    assert {box.shape for box in boxes} == {(2, 3, 3, 3)}
    assert all(torch.equal(box[0], box[1]) for box in boxes)
    assert len({box.mean().item() for box in boxes}) > 3
    torch.manual_seed(1)
    assert all(torch.equal(box, pairs[0]["image"]) for box in boxes)


@pytest.mark.parametrize("cache_rate", [0.0, 1.0])
def test_invalid_file_raises_the_input_error_itself(scan_files: Callable, cache_rate: float) -> None:
    scans = [scan_files(number) for number in range(2)]
    Path(scans[1]["image"]).write_bytes(b"")
    with pytest.raises(InputError, match="zero bytes") as caught:
        PairDataset(scans, Compose([LoadScand("image")]), cache_rate=cache_rate)[0]
    assert scans[1]["image"] in str(caught.value)


def save_noise(path: str, size: tuple[int, ...] = (8, 9, 10), affine: np.ndarray = RAS) -> None:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random(size), affine), path)


SPOILT: dict[str, tuple[str, Callable[[str], object], str]] = {
    "image": ("image", lambda path: Path(path).write_bytes(b"no image"), "cannot be read as an image"),
    "label": ("label", lambda path: Path(path).write_bytes(b""), "zero bytes"),
    "two volumes": ("image", lambda path: save_noise(path, (8, 9, 10, 2)), "4-D"),
    "micrometers": ("image", lambda path: save_noise(path, affine=np.diag([2e3, 2e3, 2e3, 1])), "brain scan"),
    "keypoints": ("keypoints", lambda path: Path(path).write_text("1,2\n"), "x,y,z"),
    "other size": ("image", lambda path: save_noise(path, (8, 9, 11)), "different grids"),
    "other voxels": ("image", lambda path: save_noise(path, affine=np.diag([2, 2, 2.1, 1])), "different grids"),
}


@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.parametrize("as_pairs", [False, True], ids=["scans", "pairs"])
def test_the_last_scan_is_checked_before_any_is_used(scan_files: Callable, kind: str, as_pairs: bool) -> None:
    key, spoil, said = SPOILT[kind]
    scans = [scan_files(number) for number in range(4)]
    spoil(scans[3][key])
    data = [{"fixed": scans[0], "moving": scan} for scan in scans[1:]] if as_pairs else scans
    loader = LoadScand("image", label_keys="label", keypoint_keys="keypoints")
    with pytest.raises(InputError, match=said):
        PairDataset(data, Compose([loader, RandScaleIntensityd("image", factors=0.5)]), cache_rate=0)


def test_voxels_are_not_read_for_the_check(scan_files: Callable) -> None:
    scans = [scan_files(number, suffix=".nii") for number in range(3)]
    with open(scans[2]["image"], "r+b") as file:
        file.truncate(1000)
    dataset = PairDataset(scans, Compose([LoadScand("image")]), cache_rate=0)
    assert dataset[0]["image"].shape == (2, 8, 9, 10)
    with pytest.raises(InputError, match="damaged or cut short"):
        dataset[5]


@pytest.mark.parametrize("axes", ["LAS", "SPR"])
def test_scans_whose_files_only_have_other_axes_are_on_one_grid(scan_files: Callable, axes: str) -> None:
    scans = [scan_files(number) for number in range(2)]
    image = nib.load(scans[1]["image"])
    turned = nib.orientations.ornt_transform(nib.io_orientation(RAS), nib.orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(turned), scans[1]["image"])
    load = CountingLoad()
    PairDataset(scans, Compose([load.load, Orientationd("image", "RAS", labels=None)]), cache_rate=0)
    assert PairDataset(scans, Compose([load.load, Orientationd("image", "RAS", labels=None)])).shape == (8, 9, 10)


def test_grids_that_the_transform_makes_one_are_taken(scan_files: Callable) -> None:
    scans = [scan_files(0), scan_files(1, size=(8, 9, 14)), scan_files(2, size=(8, 9, 14))]
    transform = Compose([LoadScand("image"), ResizeWithPadOrCropd("image", (8, 9, 10), lazy=False)])
    for scan in scans[1:]:  # in the middle of the other grid
        image = nib.load(scan["image"])
        image.affine[2, 3] = -4
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), scan["image"])
    assert PairDataset(scans, transform).shape == (8, 9, 10)


def test_dataset_is_built_from_a_config(scan_files: Callable) -> None:
    scans = [scan_files(number) for number in range(2)]
    parser = ConfigParser(
        {
            "preprocessing": {
                "_target_": "Compose",
                "transforms": [{"_target_": "scripts.datasets.LoadScand", "keys": "image"}],
            },
            "dataset": {
                "_target_": "scripts.datasets.PairDataset",
                "data": scans,
                "transform": "@preprocessing",
            },
            "sampler": {"_target_": "scripts.datasets.PairSampler", "data_source": "@dataset", "num_samples": 2},
        }
    )
    assert sorted(parser.get_parsed_content("sampler")) == [0, 1]


def test_dataset_without_scans_is_refused() -> None:
    with pytest.raises(ValueError, match="got none"):
        PairDataset([], LoadScand("image"))
