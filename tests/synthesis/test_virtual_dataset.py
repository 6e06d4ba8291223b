# SPDX-License-Identifier: Apache-2.0
"""Virtual subjects as a dataset in files."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.datasets.learn2reg import label_names, training_scans, validation_pairs
from scripts.datasets.loading import LoadScand
from scripts.datasets.pairs import PairDataset
from scripts.runtime.errors import InputError
from scripts.synthesis.anatomies import phantom_anatomy
from scripts.synthesis.virtual_subjects import virtual_subject, write_dataset
from tests.synthesis.examples import SMALL_SIZE


def test_written_dataset_is_read_with_corresponding_keypoints(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "new" / "V", SMALL_SIZE, 2, 3, seed=1, anatomy="shapes")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["V"]
    assert len(training_scans(folder)) == 2
    pairs = validation_pairs(folder)
    assert len(pairs) == 3
    assert label_names(folder) == phantom_anatomy(SMALL_SIZE).names
    image = nib.load(pairs[0]["fixed"]["image"])
    assert image.get_data_dtype() == np.uint8
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")

    dataset = PairDataset(pairs, LoadScand("image", "label", "keypoints"))
    subjects = {f"VIRTUAL_{n + 1:04d}_0000": virtual_subject(phantom_anatomy(SMALL_SIZE), 10_000 + n) for n in range(5)}
    for index in range(3):
        item = dataset[index]
        assert item["fixed_keypoints"].shape == (100, 3)
        np.testing.assert_array_equal(item["fixed_label"], subjects[item["fixed_name"]].labels[0])
        # Corresponding points nearly always have the same label.
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


def test_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(InputError, match="not empty"):
        write_dataset(tmp_path, (16, 16, 16), 2, 2, anatomy="shapes")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_fewer_than_two_subjects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 training and 1 validation"):
        write_dataset(tmp_path / "new", (16, 16, 16), 2, 1, anatomy="shapes")
    assert not (tmp_path / "new").exists()
