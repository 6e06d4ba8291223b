# SPDX-License-Identifier: Apache-2.0
"""Pairs of label maps: their files, their order, and their random transform."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.datasets.sampling import PairSampler
from scripts.runtime.errors import InputError
from scripts.synthesis.label_maps import LabelMapPairs, label_map_files
from scripts.synthesis.virtual_scans import RandSynthesizePaird
from tests.synthesis.examples import head


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, shift in enumerate((0.0, 1.0, 2.0)):
        nib.save(nib.Nifti1Image(head(shift)[0].numpy(), np.eye(4)), tmp_path / f"map_{number}.nii.gz")
    (tmp_path / "notes.txt").write_text("no label map")
    return tmp_path


def test_every_ordered_pair_is_an_item(folder: Path) -> None:
    seen = []
    dataset = LabelMapPairs(label_map_files(folder), lambda maps: seen.append(maps) or maps)
    assert len(dataset) == 9
    items = [dataset[index] for index in range(9)]
    for index, item in enumerate(items):
        assert torch.equal(item["fixed_label"], head(index // 3)) and torch.equal(item["moving_label"], head(index % 3))
    with pytest.raises(IndexError):
        dataset[9]


def test_restored_generator_makes_the_same_pairs_again(folder: Path) -> None:
    dataset = LabelMapPairs(label_map_files(folder), RandSynthesizePaird())
    torch.manual_seed(4)
    state = torch.get_rng_state()
    first = [dataset[index]["image"] for index in PairSampler(dataset, 2)]
    torch.set_rng_state(state)
    again = [dataset[index]["image"] for index in PairSampler(dataset, 2)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])


def test_maps_are_reoriented_to_ras(folder: Path) -> None:
    turned = nib.Nifti1Image(head(2.0)[0].numpy()[::-1], np.diag([-1.0, 1, 1, 1]))
    nib.save(turned, folder / "map_2.nii.gz")
    dataset = LabelMapPairs(label_map_files(folder), dict)
    assert torch.equal(dataset[8]["fixed_label"], head(2.0))


def test_labels_above_1023_are_refused(folder: Path) -> None:
    nib.save(nib.Nifti1Image(head()[0].numpy() + np.int16(1001), np.eye(4)), folder / "map_1.nii.gz")
    with pytest.raises(InputError, match=r"map_1.nii.gz: labels from 1001 to \d+; want FreeSurfer's, 0 to 1023"):
        LabelMapPairs(label_map_files(folder), dict)


def test_maps_of_different_sizes_are_refused(folder: Path) -> None:
    nib.save(nib.Nifti1Image(head()[0].numpy()[1:], np.eye(4)), folder / "other.nii.gz")
    with pytest.raises(InputError, match=r"other.nii.gz: \(47, 64, 48\) voxels, .*map_0.nii.gz has \(48, 64, 48\)"):
        LabelMapPairs(label_map_files(folder), dict)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of label maps"):
        label_map_files(tmp_path / "nowhere")


def test_single_map_is_refused(folder: Path) -> None:
    for number in (1, 2):
        (folder / f"map_{number}.nii.gz").unlink()
    with pytest.raises(InputError, match="1 label maps; pairs need at least two"):
        label_map_files(folder)
