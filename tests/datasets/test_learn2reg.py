# SPDX-License-Identifier: Apache-2.0
"""Published dataset JSON files, and messages about invalid ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.datasets.learn2reg import label_names, training_scans, validation_pairs
from scripts.runtime.errors import InputError


def make(folder: Path, content: Any, files: list[str]) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "TEST_dataset.json").write_text(json.dumps(content))
    return folder


def images(kind: str, *numbers: int) -> list[str]:
    return [f"./{kind}/P_{number:04d}_0000.nii.gz" for number in numbers]


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_lumir_file_works_unchanged(tmp_path: Path) -> None:
    train = images("imagesTr", 0, 1, 2)
    fixed, moving = images("imagesVal", 8, 7)
    content = {
        "name": "LUMIR",
        "tensorImageShape": [160, 224, 192],
        "training": [{"image": path} for path in train],
        "validation": [{"fixed": fixed, "moving": moving}],
    }
    make(tmp_path, content, [*train, fixed, moving])
    assert training_scans(tmp_path) == [{"image": str(tmp_path / path)} for path in train]
    assert validation_pairs(tmp_path) == [
        {"fixed": {"image": str(tmp_path / fixed)}, "moving": {"image": str(tmp_path / moving)}}
    ]
    assert label_names(tmp_path) == {}


def test_learn2reg_oasis_file_works_without_its_validation_subjects(tmp_path: Path) -> None:
    paths = images("imagesTr", 1, 2, 3, 4)
    labels = images("labelsTr", 1, 2, 3, 4)
    test = images("imagesTs", 5, 6)
    content = {
        "labels": {"0": {"0": "background", "1": "Left-Cerebral-White-Matter", "2": "Left-Cerebral-Cortex"}},
        "training": [
            {"image": i, "label": la, "mask": i.replace("images", "masks")} for i, la in zip(paths, labels, strict=True)
        ],
        "test": test,
        "numRegistration_val": 1,
        "registration_val": [{"fixed": paths[2], "moving": paths[3]}],
        "registration_test": [{"fixed": test[0], "moving": test[1]}],
    }
    make(tmp_path, content, [*paths, *labels, *test])
    assert [Path(scan["image"]).name[:6] for scan in training_scans(tmp_path)] == ["P_0001", "P_0002"]
    (pair,) = validation_pairs(tmp_path)
    assert pair["fixed"] == {"image": str(tmp_path / paths[2]), "label": str(tmp_path / labels[2])}
    assert pair["moving"]["label"] == str(tmp_path / labels[3])
    (pair,) = validation_pairs(tmp_path, "registration_test")
    assert set(pair["fixed"]) == {"image"}
    assert label_names(tmp_path)[1] == "Left-Cerebral-White-Matter"


def test_labels_and_keypoints_next_to_the_images_are_found(tmp_path: Path) -> None:
    train, val = images("imagesTr", 1, 2), images("imagesTs", 3, 4)
    extra = ["labelsTs/P_0003_0000.nii.gz", "keypointsTs/P_0003_0000.csv", "keypointsTr/P_0001_0000.csv"]
    content = {
        "training": [{"image": path} for path in train],
        "registration_val": [{"fixed": val[0], "moving": val[1]}],
    }
    make(tmp_path, content, [*train, *val, *extra])
    (pair,) = validation_pairs(tmp_path)
    assert set(pair["fixed"]) == {"image", "label", "keypoints"}
    assert pair["fixed"]["keypoints"] == str(tmp_path / extra[1])
    assert set(pair["moving"]) == {"image"}
    assert [sorted(scan) for scan in training_scans(tmp_path)] == [["image", "keypoints"], ["image"]]


def test_every_training_scan_needs_a_label_map_if_labels_are_required(tmp_path: Path) -> None:
    paths, labels = images("imagesTr", 1, 2, 3), images("labelsTr", 1, 2, 3)
    make(tmp_path, {"training": [{"image": path} for path in paths]}, [*paths, *labels])
    assert [set(scan) for scan in training_scans(tmp_path)] == [{"image"}] * 3
    assert [scan["label"] for scan in training_scans(tmp_path, labels=True)] == [str(tmp_path / la) for la in labels]
    for number in (1, 2):
        (tmp_path / labels[number]).unlink()
    with pytest.raises(InputError) as error:
        training_scans(tmp_path, labels=True)
    assert one_line(error).startswith(f"{tmp_path / paths[1]}: no label map (and 1 more)")


def test_path_of_the_json_may_be_given(tmp_path: Path) -> None:
    file = tmp_path / "my.json"
    file.write_text(json.dumps({"labels": {"1": "brain"}}))
    assert label_names(file) == {1: "brain"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no *dataset*.json in this folder"),
        ({"A_dataset.json": "{\n,"}, "A_dataset.json: not a JSON file"),
        ({"A_dataset.json": "[]"}, "A_dataset.json: not a dataset file; want a JSON object"),
        ({"A_dataset.json": "{}", "B_dataset.json": "{}"}, "A_dataset.json, B_dataset.json"),
    ],
)
def test_invalid_dataset_files_are_one_line(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        training_scans(tmp_path)
    assert str(tmp_path) in one_line(error)
    assert words in one_line(error)


def test_missing_dataset_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such dataset folder"):
        training_scans(tmp_path / "nowhere")


def test_missing_files_are_named_and_counted(tmp_path: Path) -> None:
    paths = images("imagesTr", 1, 2, 3)
    content = {
        "training": [{"image": path} for path in paths],
        "registration_val": [{"fixed": images("imagesVal", 8)[0], "moving": paths[0]}],
    }
    make(tmp_path, content, paths[1:2])
    with pytest.raises(InputError) as error:
        training_scans(tmp_path)
    assert one_line(error).startswith(f"{tmp_path / 'imagesTr/P_0003_0000.nii.gz'}: no such file, named in")
    (tmp_path / paths[1]).unlink()
    with pytest.raises(InputError) as error:
        training_scans(tmp_path)
    assert one_line(error).startswith(f"{tmp_path / 'imagesTr/P_0002_0000.nii.gz'}: no such file (and 1 more)")
    with pytest.raises(InputError) as error:
        validation_pairs(tmp_path)
    assert "imagesVal/P_0008_0000.nii.gz: no such file (and 1 more)" in one_line(error)


def test_missing_pairs_and_too_few_scans_are_one_line(tmp_path: Path) -> None:
    paths = images("imagesTr", 1, 2)
    make(tmp_path, {"training": [{"image": paths[0]}], "registration_val": [], "rescan": ["x"]}, paths)
    with pytest.raises(InputError) as error:
        training_scans(tmp_path)
    assert "1 scans" in one_line(error)
    with pytest.raises(InputError) as error:
        validation_pairs(tmp_path)
    assert "registration_val or validation" in one_line(error)
    assert "training, rescan" in one_line(error)
    with pytest.raises(InputError) as error:
        validation_pairs(tmp_path, "registration_test")
    assert "registration_test" in one_line(error)
    with pytest.raises(InputError) as error:
        validation_pairs(tmp_path, "rescan")
    assert "entry 0 of 'rescan' has no 'fixed'" in one_line(error)


@pytest.mark.parametrize("labels", [["background", "brain"], {"brain": 1}])
def test_malformed_labels_are_one_line(tmp_path: Path, labels: Any) -> None:
    make(tmp_path, {"labels": labels}, [])
    with pytest.raises(InputError) as error:
        label_names(tmp_path)
    assert "TEST_dataset.json" in one_line(error)


def test_real_oasis_dataset_has_its_scans_pairs_and_labels(shared_data: Path) -> None:
    folder = shared_data / "oasis35"
    training, pairs = training_scans(folder), validation_pairs(folder)
    assert (len(training), len(pairs)) == (18, 10)
    held_out = {scan["image"] for pair in pairs for scan in pair.values()}
    assert held_out.isdisjoint(scan["image"] for scan in training)
    assert all("label" in scan for pair in pairs for scan in pair.values())
    assert len(validation_pairs(folder, "rescan")) == 1
    names = label_names(folder)
    assert len(names) == 134
    assert names[35] == "Brain Stem"
