"""Virtual subjects: the known field aligns them, is a diffeomorphism, and follows from the seed."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool3d

from scripts.datasets.learn2reg import label_names, training_scans, validation_pairs
from scripts.datasets.loading import LoadScand
from scripts.datasets.pairs import PairDataset
from scripts.runtime.errors import InputError
from scripts.spatial import warp
from scripts.synthesis.anatomies import Anatomy, icbm_anatomy, phantom_anatomy
from scripts.synthesis.virtual_subjects import VirtualPair, subject_points, virtual_pair, virtual_subject, write_dataset

SIZE = (32, 36, 32)


@pytest.fixture(scope="module", params=["shapes", "icbm"])
def anatomy(request: pytest.FixtureRequest) -> Anatomy:
    if request.param == "icbm":
        pytest.importorskip("nilearn")
        return icbm_anatomy(SIZE)
    return phantom_anatomy(SIZE)


@pytest.fixture(scope="module")
def pair(anatomy: Anatomy) -> VirtualPair:
    return virtual_pair(anatomy, 1)


def agreement(first: Tensor, second: Tensor) -> float:
    """Share of the voxels in either brain that have the same label."""
    brain = (first > 0) | (second > 0)
    return float((first == second)[brain].float().mean())


def at_border(labels: Tensor) -> Tensor:
    """Voxels with another label among their 26 neighbours."""
    values = labels.float()
    largest, smallest = max_pool3d(values, 3, 1, 1), -max_pool3d(-values, 3, 1, 1)
    return largest != smallest


def finite_difference_determinants(field: Tensor) -> Tensor:
    """Determinants of x -> x + field(x) by forward differences, for every voxel but the last of each axis."""
    u = field[0].double()
    d, h, w = (n - 1 for n in u.shape[1:])
    rows = [
        (u[:, 1:, :h, :w] - u[:, :d, :h, :w]),
        (u[:, :d, 1:, :w] - u[:, :d, :h, :w]),
        (u[:, :d, :h, 1:] - u[:, :d, :h, :w]),
    ]
    jacobian = torch.stack(rows, dim=-1).movedim(0, -2) + torch.eye(3, dtype=torch.float64)
    return torch.linalg.det(jacobian)


def test_anatomy_is_a_brain_with_room_around(anatomy: Anatomy) -> None:
    brain = anatomy.labels > 0
    assert anatomy.labels.shape == anatomy.intensities.shape == SIZE
    assert set(anatomy.labels.unique().tolist()) == {0, *anatomy.names}
    assert 8 <= len(anatomy.names) <= 20
    assert len(set(anatomy.names.values())) == len(anatomy.names)
    assert bool((anatomy.intensities[~brain] == 0).all())
    assert float(anatomy.intensities.min()) >= 0.0
    assert 0.5 < float(anatomy.intensities.max()) <= 1.0
    for axis in range(3):
        assert not bool(brain.index_select(axis, torch.tensor([0, SIZE[axis] - 1])).any())


def test_left_of_the_anatomy_is_low_x_and_front_is_high_y() -> None:
    pytest.importorskip("nilearn")
    anatomy = icbm_anatomy(SIZE)
    centre = {name: torch.nonzero(anatomy.labels == value).float().mean(dim=0) for value, name in anatomy.names.items()}
    assert centre["Left Temporal Cortex"][0] < centre["Right Temporal Cortex"][0]
    assert centre["Left Frontal Cortex"][1] > centre["Left Occipital Cortex"][1]
    assert centre["Left Parietal Cortex"][2] > centre["Brain Stem"][2]


def test_phantom_folds_follow_the_seed() -> None:
    first, second, third = (phantom_anatomy(SIZE, seed).labels for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_known_field_aligns_the_pair(pair: VirtualPair) -> None:
    moved = warp(pair.moving.labels, pair.field, mode="nearest")
    assert agreement(pair.fixed.labels, moved) > agreement(pair.fixed.labels, pair.moving.labels) + 0.1
    # what is missing is rounding to voxels: away from borders all is in place
    inside = (pair.fixed.labels > 0) & ~at_border(pair.fixed.labels)
    assert int(inside.sum()) > 500
    assert float((pair.fixed.labels == moved)[inside].float().mean()) > 0.99
    brain = pair.fixed.labels > 0
    apart = (pair.moving.image - pair.fixed.image)[brain].abs().mean()
    aligned = (warp(pair.moving.image, pair.field) - pair.fixed.image)[brain].abs().mean()
    assert aligned < 0.75 * apart


def test_wrong_sign_of_the_field_does_not_align(pair: VirtualPair) -> None:
    right, wrong = (warp(pair.moving.labels, sign * pair.field, mode="nearest") for sign in (1, -1))
    assert agreement(pair.fixed.labels, wrong) < agreement(pair.fixed.labels, right) - 0.3


def test_known_field_takes_points_of_one_person_to_the_other(anatomy: Anatomy) -> None:
    # large, so that composing in the wrong order would show
    pair = virtual_pair(anatomy, 1, amplitude=0.05)
    points = torch.nonzero(anatomy.labels > 0)[::97].float()
    fixed, moving = (subject_points(subject.velocity, points) for subject in (pair.fixed, pair.moving))
    # the field between voxels, linearly
    positions = (2 * fixed / (torch.tensor(SIZE) - 1.0) - 1).flip(1).view(1, -1, 1, 1, 3)
    at_points = grid_sample(pair.field, positions, align_corners=True)[0, :, :, 0, 0].T
    errors = (fixed + at_points - moving).norm(dim=1)
    assert float(errors.max()) < 0.5
    assert float(errors.mean()) < 0.1


def test_known_field_never_folds_and_is_as_large_as_asked(pair: VirtualPair) -> None:
    assert float(finite_difference_determinants(pair.field).min()) > 0
    brain = pair.fixed.labels[0, 0] > 0
    share = float(pair.field.norm(dim=1)[0][brain].mean()) / np.mean(SIZE)
    assert 0.025 < share < 0.045


def test_no_amplitude_is_no_deformation() -> None:
    anatomy = phantom_anatomy((16, 16, 16))
    still = virtual_pair(anatomy, 4, amplitude=0.0)
    assert not bool(still.field.any())
    assert torch.equal(still.moving.labels[0, 0], anatomy.labels)


def test_subject_is_skull_stripped_and_in_range(anatomy: Anatomy, pair: VirtualPair) -> None:
    subject = pair.fixed
    brain = subject.labels > 0
    assert bool((subject.image[~brain] == 0).all())
    assert float(subject.image.min()) >= 0
    assert float(subject.image.max()) <= 1
    assert subject.labels.dtype == torch.int32
    assert set(subject.labels.unique().tolist()) == {0, *anatomy.names}


def test_same_seed_same_person_other_seed_other_person(anatomy: Anatomy) -> None:
    first, again, other = (virtual_subject(anatomy, seed) for seed in (6, 6, 7))
    for one, same, different in zip(first, again, other, strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, different)


def test_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    virtual_subject(phantom_anatomy((16, 16, 16)), 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_written_dataset_is_read_back_and_its_rows_correspond(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "new" / "V", SIZE, 2, 3, seed=1, anatomy="shapes")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["V"]
    assert len(training_scans(folder)) == 2
    pairs = validation_pairs(folder)
    assert len(pairs) == 3
    assert label_names(folder) == phantom_anatomy(SIZE).names
    image = nib.load(pairs[0]["fixed"]["image"])
    assert image.get_data_dtype() == np.uint8
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")

    dataset = PairDataset(pairs, LoadScand("image", "label", "keypoints"), progress=False)
    velocities = {f"VIRTUAL_{n + 1:04d}_0000": virtual_subject(phantom_anatomy(SIZE), 10_000 + n) for n in range(5)}
    for index in range(3):
        item = dataset[index]
        assert item["fixed_keypoints"].shape == (100, 3)
        np.testing.assert_array_equal(item["fixed_label"], velocities[item["fixed_name"]].labels[0])
        # the same place of the anatomy has nearly always the same label
        labels = [
            item[f"{role}_label"][0][tuple(item[f"{role}_keypoints"].round().long().T)] for role in ("fixed", "moving")
        ]
        assert float((labels[0] == labels[1]).float().mean()) > 0.75
        assert float((item["fixed_keypoints"] - item["moving_keypoints"]).norm(dim=1).mean()) > 0.5


def test_written_dataset_follows_the_seed(tmp_path: Path) -> None:
    folders = [
        write_dataset(tmp_path / name, (16, 16, 16), 2, 2, seed, "shapes")
        for name, seed in zip("abc", (1, 1, 2), strict=True)
    ]
    scans = [nib.load(training_scans(folder)[0]["image"]).get_fdata() for folder in folders]
    np.testing.assert_array_equal(scans[0], scans[1])
    assert not np.array_equal(scans[0], scans[2])
    files = [json.loads((folder / "VIRTUAL_dataset.json").read_text()) for folder in folders]
    assert files[0] == files[1]


def test_write_dataset_spares_what_is_there_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(InputError, match="not empty"):
        write_dataset(tmp_path, (16, 16, 16), 2, 2, anatomy="shapes")
    with pytest.raises(InputError, match="2 training and 1 validation"):
        write_dataset(tmp_path / "new", (16, 16, 16), 2, 1, anatomy="shapes")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_missing_nilearn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    monkeypatch.delitem(sys.modules, "nilearn.datasets", raising=False)
    with pytest.raises(InputError, match="demo") as caught:
        icbm_anatomy(SIZE)
    assert "\n" not in str(caught.value)
