"""Pairs as items: which, in which order, read how often, and drawn how."""

from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, MetaTensor
from monai.transforms import (
    Compose,
    DivisiblePadd,
    MapTransform,
    Orientationd,
    RandScaleIntensityd,
    RandSpatialCropd,
    ScaleIntensityd,
)

from scripts.datasets.loading import LoadScand
from scripts.datasets.pairs import PairDataset
from scripts.datasets.sampling import PairSampler
from scripts.runtime.errors import InputError

RAS = np.diag([2.0, 2.0, 2.0, 1.0])
LAS = np.diag([-2.0, 2.0, 2.0, 1.0])


class CountingLoad(MapTransform):
    """LoadScand that counts how often each image is read."""

    def __init__(self) -> None:
        super().__init__("image")
        self.load = LoadScand("image", label_keys="label", keypoint_keys="keypoints")
        self.loads: Counter[str] = Counter()

    def __call__(self, data: dict[str, Any]) -> dict[Any, Any]:
        self.loads[Path(data["image"]).name] += 1
        return self.load(data)


class _Drawing:
    """A dataset whose items hold a random number beside their index, as a random transform would."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, torch.randint(2**31, ()).item()])


def save_scan(
    folder: Path,
    number: int,
    affine: np.ndarray = RAS,
    size: tuple[int, int, int] = (8, 9, 10),
    suffix: str = ".nii.gz",
) -> dict[str, str]:
    """A scan whose image is brightest at (number, 1, 2) of its array; there lie its label 7 and its only keypoint."""
    image = np.full(size, 0.1 * number, np.float32)
    image[number, 1, 2] = 9.0
    label = np.zeros(size, np.int16)
    label[number, 1, 2] = 700
    paths = {"image": f"P_{number}{suffix}", "label": f"L_{number}.nii.gz", "keypoints": f"P_{number}.csv"}
    kind = nib.MGHImage if suffix == ".mgz" else nib.Nifti1Image
    nib.save(kind(image, affine), folder / paths["image"])
    nib.save(nib.Nifti1Image(label, affine), folder / paths["label"])
    (folder / paths["keypoints"]).write_text(f"{number},1,2\n")
    return {key: str(folder / name) for key, name in paths.items()}


def prepare(load: Any = None) -> Compose:
    both = ["image", "label"]
    return Compose(
        [
            load or CountingLoad(),
            Orientationd(both, axcodes="RAS", labels=None, allow_missing_keys=True),
            ScaleIntensityd("image"),
            DivisiblePadd(both, k=4, allow_missing_keys=True),
        ]
    )


def test_every_ordered_pair_comes_once_and_every_scan_is_read_once(tmp_path: Path) -> None:
    load = CountingLoad()
    scans = [save_scan(tmp_path, number) for number in range(4)]
    dataset = PairDataset(scans, prepare(load), progress=False)
    items = [dataset[index] for index in range(len(dataset))] * 2
    assert len(dataset) == 12
    pairs = Counter((item["fixed_name"], item["moving_name"]) for item in items)
    assert pairs == {(f"P_{i}", f"P_{j}"): 2 for i in range(4) for j in range(4) if i != j}
    assert load.loads == {f"P_{number}.nii.gz": 1 for number in range(4)}


def test_validation_pairs_come_as_listed_and_share_their_scans(tmp_path: Path) -> None:
    load = CountingLoad()
    a, b, c = (save_scan(tmp_path, number) for number in range(3))
    data = [{"fixed": c, "moving": a}, {"fixed": a, "moving": c}, {"fixed": b, "moving": a}]
    dataset = PairDataset(data, prepare(load), progress=False)
    names = [(dataset[index]["fixed_name"], dataset[index]["moving_name"]) for index in range(len(dataset))]
    assert names == [("P_2", "P_0"), ("P_0", "P_2"), ("P_1", "P_0")]
    assert set(load.loads.values()) == {1}
    assert dataset.data is data


def test_scans_outside_the_cache_are_read_at_every_use(tmp_path: Path) -> None:
    load = CountingLoad()
    scans = [save_scan(tmp_path, number) for number in range(2)]
    dataset = PairDataset(scans, prepare(load), cache_rate=0.5, progress=False)
    for index in (0, 1):
        assert dataset[index]["image"].shape == (2, 8, 12, 12)
    assert load.loads == {"P_0.nii.gz": 1, "P_1.nii.gz": 2}


def test_item_is_fixed_then_moving_on_the_fixed_grid(tmp_path: Path) -> None:
    scans = [save_scan(tmp_path, number, LAS) for number in (1, 3)]
    item = PairDataset(scans, prepare(), progress=False)[0]
    assert isinstance(item["image"], MetaTensor)
    assert item["image"].dtype == torch.float32
    assert item["image"].meta["filename_or_obj"] == scans[0]["image"]
    for channel, role, number in ((0, "fixed", 1), (1, "moving", 3)):
        peak = torch.nonzero(item["image"][channel] == 1.0).tolist()
        # flipped to RAS, y and z padded from 9 and 10 to 12
        assert peak == [[7 - number, 2, 3]]
        label = item[f"{role}_label"]
        assert label.dtype == torch.int32
        assert torch.nonzero(label[0] == 700).tolist() == peak
        torch.testing.assert_close(item[f"{role}_keypoints"], torch.tensor(peak, dtype=torch.float32))


def test_images_lose_less_than_a_sixteenth_of_a_grey_level(tmp_path: Path) -> None:
    scans = [save_scan(tmp_path, number) for number in range(2)]
    grey = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    nib.save(nib.Nifti1Image(grey, RAS), scans[0]["image"])
    scans = [{"image": scan["image"]} for scan in scans]
    nib.save(nib.Nifti1Image(grey * 1000, RAS), scans[1]["image"])
    image = PairDataset(scans, Compose([LoadScand("image")]), progress=False)[0]["image"]
    assert np.abs(image[0].numpy() - grey).max() < 1 / 255 / 16
    np.testing.assert_array_equal(image[1].numpy(), grey * 1000)


def test_changing_an_item_does_not_change_the_next_one(tmp_path: Path) -> None:
    dataset = PairDataset([save_scan(tmp_path, number) for number in range(2)], prepare(), progress=False)
    first = dataset[0]
    before = {key: value.clone() for key, value in first.items() if isinstance(value, torch.Tensor)}
    for key in before:
        first[key].zero_()
    for key, value in before.items():
        assert torch.equal(dataset[0][key], value), key


def test_random_transforms_act_anew_on_the_scan_that_was_read_once(tmp_path: Path) -> None:
    load = CountingLoad()
    scans = [save_scan(tmp_path, number) for number in range(2)]
    transform = Compose([load, RandScaleIntensityd("image", factors=0.5, prob=1.0)])
    dataset = PairDataset(scans, transform, progress=False)
    assert not torch.equal(dataset[0]["image"], dataset[0]["image"])
    assert set(load.loads.values()) == {1}


def test_pair_transform_cuts_both_images_at_one_place_which_torchs_generator_says(tmp_path: Path) -> None:
    crop = RandSpatialCropd("image", roi_size=[3, 3, 3], random_size=False)
    data = [{"image": str(tmp_path / f"P_{number}.nii.gz")} for number in (1, 2)]
    # Every voxel tells where it is, in the fixed image as in the moving one.
    place = np.arange(8 * 8 * 8, dtype=np.float32).reshape(8, 8, 8)
    for scan in data:
        nib.save(nib.Nifti1Image(place, RAS), scan["image"])
    pairs = PairDataset(data, prepare(), progress=False, pair_transform=crop)
    torch.manual_seed(1)
    boxes = [pairs[0]["image"] for _ in range(8)]
    assert {box.shape for box in boxes} == {(2, 3, 3, 3)}
    assert all(torch.equal(box[0], box[1]) for box in boxes)
    assert len({box.mean().item() for box in boxes}) > 3
    torch.manual_seed(1)
    assert all(torch.equal(box, pairs[0]["image"]) for box in boxes)


def test_labels_that_are_not_loaded_are_left_out(tmp_path: Path) -> None:
    scans = [save_scan(tmp_path, number) for number in range(2)]
    item = PairDataset(scans, LoadScand("image"), progress=False)[0]
    assert not [key for key in item if "label" in key]


@pytest.mark.parametrize("workers", [0, 1])
def test_items_of_different_formats_make_a_batch(tmp_path: Path, workers: int) -> None:
    scans = [save_scan(tmp_path, number, suffix=suffix) for number, suffix in enumerate([".nii.gz", ".mgz", ".nii"])]
    dataset = PairDataset(scans, prepare(), progress=False)
    batch = next(iter(DataLoader(dataset, batch_size=6, num_workers=workers)))
    assert batch["image"].shape == (6, 2, 8, 12, 12)
    assert batch["moving_label"].shape == (6, 1, 8, 12, 12)
    assert batch["fixed_keypoints"].shape == (6, 1, 3)
    assert batch["fixed_name"] == ["P_0", "P_0", "P_1", "P_1", "P_2", "P_2"]


@pytest.mark.parametrize("second", [{"size": (8, 9, 14)}, {"affine": np.diag([2.0, 2.0, 2.01, 1.0])}])
def test_pair_on_two_grids_names_both_files_in_one_line(tmp_path: Path, second: dict[str, Any]) -> None:
    scans = [save_scan(tmp_path, 0), save_scan(tmp_path, 1, **second)]
    dataset = PairDataset(scans, prepare(), progress=False)
    with pytest.raises(InputError, match="different grids; training and evaluation want one") as caught:
        dataset[0]
    message = str(caught.value)
    assert all(scan["image"] in message for scan in scans)
    assert "8x12x12" in message
    assert "\n" not in message


def test_unequal_keypoints_are_refused(tmp_path: Path) -> None:
    scans = [save_scan(tmp_path, number) for number in range(2)]
    Path(scans[1]["keypoints"]).write_text("1,1,2\n2,2,2\n")
    with pytest.raises(InputError, match=r"1 keypoints .* has 2"):
        PairDataset(scans, prepare(), progress=False)[0]


@pytest.mark.parametrize("cache_rate", [0.0, 1.0])
def test_bad_file_comes_out_as_itself(tmp_path: Path, cache_rate: float) -> None:
    scans = [save_scan(tmp_path, number) for number in range(2)]
    Path(scans[1]["image"]).write_bytes(b"")
    with pytest.raises(InputError, match="zero bytes") as caught:
        PairDataset(scans, prepare(), cache_rate=cache_rate, progress=False)[0]
    assert scans[1]["image"] in str(caught.value)


def test_dataset_is_built_from_a_config(tmp_path: Path) -> None:
    scans = [save_scan(tmp_path, number) for number in range(2)]
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
                "progress": False,
            },
            "sampler": {"_target_": "scripts.datasets.PairSampler", "data_source": "@dataset", "num_samples": 2},
        }
    )
    assert sorted(parser.get_parsed_content("sampler")) == [0, 1]
    with pytest.raises(ValueError, match="got none"):
        PairDataset([], LoadScand("image"))


def test_sampler_repeats_nothing_unless_it_must() -> None:
    assert sorted(PairSampler(range(30), 30)) == list(range(30))
    few = list(PairSampler(range(30), 7))
    assert len(set(few)) == len(few) == 7
    many = list(PairSampler(range(3), 50))
    assert len(many) == 50
    assert set(many) == {0, 1, 2}


def test_restored_generator_state_draws_the_same_pairs_again() -> None:
    sampler = PairSampler(range(1000), 20)
    list(sampler)
    state = torch.get_rng_state()
    epochs = [list(sampler) for _ in range(3)]
    assert epochs[0] != epochs[1]
    torch.set_rng_state(state)
    assert [list(sampler) for _ in range(3)] == epochs


@pytest.mark.parametrize("stop", range(1, 5))
@pytest.mark.parametrize("batch_size", [1, 2])
def test_restored_sampler_goes_on_inside_an_epoch_as_if_never_stopped(stop: int, batch_size: int) -> None:
    def loader() -> tuple[PairSampler, DataLoader]:
        sampler = PairSampler(range(1000), 5 * batch_size)
        return sampler, DataLoader(_Drawing(), batch_size=batch_size, sampler=sampler, num_workers=0)

    sampler, batches = loader()
    torch.manual_seed(0)
    drawn, states = [], []
    for _ in range(2):
        for batch in batches:
            drawn.append(batch)
            states.append((sampler.state_dict(), torch.get_rng_state()))

    sampler, batches = loader()
    sampler_state, generator_state = states[stop - 1]
    sampler.load_state_dict(sampler_state)
    torch.set_rng_state(generator_state)
    rest = [*batches, *batches]
    assert len(rest) == 10 - stop if stop < 5 else 10
    assert all(torch.equal(a, b) for a, b in zip(rest, drawn[stop:], strict=stop < 5))


def test_restored_samplers_of_two_processes_share_what_is_left() -> None:
    torch.manual_seed(0)
    first = PairSampler(range(1000), 6, num_replicas=2, rank=0)
    items = iter(first)
    seen = [next(items)]
    left = first.state_dict()
    rests = []
    for rank in (0, 1):
        sampler = PairSampler(range(1000), 6, num_replicas=2, rank=rank)
        sampler.load_state_dict(left)
        rests.append(list(sampler))
    assert [*seen, *rests[0]] == [*seen, *items]
    assert len(rests[1]) == 2
    assert len({*seen, *rests[0], *rests[1]}) == 5


def test_sampler_refuses_to_draw_nothing() -> None:
    with pytest.raises(ValueError, match="cannot draw"):
        PairSampler(range(3), 0)
    with pytest.raises(ValueError, match="cannot draw"):
        PairSampler([], 3)
