# SPDX-License-Identifier: Apache-2.0
"""Files of scans and pairs, read from a dataset JSON in Learn2Reg's layout.

The dataset files of LUMIR and Learn2Reg-OASIS work unchanged.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scripts.io import check_is_text, read_json, scan_name
from scripts.runtime import InputError

# Absolute paths by kind: `image`, and `label` and `keypoints` if the scan has them. Row i of the keypoint files of all
# scans is the same anatomical point; for their format see `scripts.io.load_keypoints`.
ScanFiles = dict[str, str]

# The files of the `fixed` and of the `moving` scan.
PairFiles = dict[str, ScanFiles]

# Sections that hold validation pairs: Learn2Reg's name, and LUMIR's.
_VALIDATION_SECTIONS = ("registration_val", "validation")


def training_scans(dataset_dir: str | Path, labels: bool = False) -> list[ScanFiles]:
    """Training scans: the section `training` without the scans of the validation pairs.

    Learn2Reg-OASIS lists its validation subjects under `training` as well; they are left out.

    Args:
        dataset_dir: folder of the dataset, or its JSON file.
        labels: whether the scans have to come with their label maps; otherwise they come without.

    Raises:
        InputError: if the JSON is missing or invalid, has fewer than two such scans, or names missing files; if label
            maps are required and a scan has none.
    """
    file, content = _read_json(dataset_dir)
    held_out = {
        _resolve(file, path)
        for section in _VALIDATION_SECTIONS
        for pair in _section(content, section)
        if isinstance(pair, dict)
        for path in pair.values()
        if isinstance(path, str)
    }
    scans = [scan for scan in _listed_scans(file, content) if scan["image"] not in held_out]
    if len(scans) < 2:
        raise InputError(f"{file}: {len(scans)} scans to train on in section 'training'; pairs need at least two")
    if labels:
        _check_labels(file, scans)
    else:
        scans = [{key: path for key, path in scan.items() if key != "label"} for scan in scans]
    _check_files(file, scans)
    return scans


def validation_pairs(dataset_dir: str | Path, section: str | None = None) -> list[PairFiles]:
    """Pairs of one section of the dataset JSON.

    Label maps and keypoints are those that the image's entry under `training` lists. Others are taken from the folders
    `labelsTr` and `keypointsTr` next to `imagesTr`, where a file with the image's name exists; likewise for `imagesTs`
    and `imagesVal`.

    Args:
        dataset_dir: folder of the dataset, or its JSON file.
        section: name of a section; None is `registration_val` or, in LUMIR's file, `validation`.

    Raises:
        InputError: if the JSON is missing or invalid, has no pairs in this section, or names missing files.
    """
    file, content = _read_json(dataset_dir)
    sections = _VALIDATION_SECTIONS if section is None else (str(section),)  # Fire makes a number of --section 2024
    name = next((name for name in sections if _section(content, name)), None)
    if name is None:
        lists = ", ".join(key for key, value in content.items() if isinstance(value, list) and value)
        raise InputError(f"{file}: no pairs under {' or '.join(sections)}; its sections are: {lists or 'none'}")

    known = {scan["image"]: scan for scan in _listed_scans(file, content)}
    pairs: list[PairFiles] = []
    for number, entry in enumerate(_section(content, name)):
        pair: PairFiles = {}
        for role in ("fixed", "moving"):
            path = entry.get(role) if isinstance(entry, dict) else None
            if not isinstance(path, str):
                raise InputError(f"{file}: entry {number} of '{name}' has no '{role}' image; want fixed and moving")
            image = _resolve(file, path)
            pair[role] = known.get(image) or _with_files_beside({"image": image})
        pairs.append(pair)
    _check_files(file, [scan for pair in pairs for scan in pair.values()])
    return pairs


def label_names(dataset_dir: str | Path) -> dict[int, str]:
    """Names of the foreground labels by value.

    Args:
        dataset_dir: folder of the dataset, or its JSON file.

    Returns:
        Names in the order of the JSON, without label 0; empty if the JSON names no labels, as LUMIR's.

    Raises:
        InputError: if the JSON is missing or invalid, or its `labels` are not names by value.
    """
    file, content = _read_json(dataset_dir)
    labels = content.get("labels") or {}
    if isinstance(labels, dict) and all(isinstance(value, dict) for value in labels.values()):
        # Some of Learn2Reg's files have one table for each modality.
        labels = {value: name for table in labels.values() for value, name in table.items()}
    try:
        names = {int(value): str(name) for value, name in labels.items()}
    except (AttributeError, ValueError) as error:
        raise InputError(f'{file}: \'labels\' is not a table such as {{"1": "Left Thalamus"}}; correct it') from error
    return {value: name for value, name in names.items() if value != 0}


def _dataset_json(dataset_dir: str | Path) -> Path:
    """The only file `*dataset*.json` of a folder; a path to a file is returned unchanged."""
    check_is_text(dataset_dir, "dataset_dir")
    path = Path(dataset_dir).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{dataset_dir}: no such dataset folder; check the path")
    found = sorted(path.glob("*dataset*.json"))
    if not found:
        raise InputError(f"{dataset_dir}: no *dataset*.json in this folder; give a dataset in Learn2Reg's layout")
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise InputError(f"{dataset_dir}: several dataset files ({names}); give the path of one of them")
    return found[0]


def _read_json(dataset_dir: str | Path) -> tuple[Path, dict[str, Any]]:
    file = _dataset_json(dataset_dir)
    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError(f"{file}: not a dataset file; want a JSON object in Learn2Reg's layout")
    return file, content


def _section(content: dict[str, Any], name: str) -> list[Any]:
    entries = content.get(name)
    return entries if isinstance(entries, list) else []


def _listed_scans(file: Path, content: dict[str, Any]) -> list[ScanFiles]:
    scans: list[ScanFiles] = []
    for number, entry in enumerate(_section(content, "training")):
        paths = {"image": entry} if isinstance(entry, str) else entry
        if not isinstance(paths, dict) or not isinstance(paths.get("image"), str):
            raise InputError(f"{file}: entry {number} of 'training' has no 'image'; correct it")
        listed = {
            key: _resolve(file, paths[key])
            for key in ("image", "label", "keypoints")
            if isinstance(paths.get(key), str)
        }
        scans.append(_with_files_beside(listed))
    return scans


def _resolve(file: Path, path: str) -> str:
    return os.path.abspath(file.parent / path)


def _with_files_beside(scan: ScanFiles) -> ScanFiles:
    """Add label map and keypoints from the folders next to the images, unless they are listed."""
    folder, name = os.path.split(scan["image"])
    parent, kind = os.path.split(folder)
    if kind.startswith("images"):
        suffix = kind.removeprefix("images")
        beside = {
            "label": os.path.join(parent, f"labels{suffix}", name),
            "keypoints": os.path.join(parent, f"keypoints{suffix}", f"{scan_name(name)}.csv"),
        }
        for key, path in beside.items():
            if key not in scan and os.path.isfile(path):
                scan = {**scan, key: path}
    return scan


def _check_labels(file: Path, scans: Iterable[ScanFiles]) -> None:
    missing = [scan["image"] for scan in scans if "label" not in scan]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}: no label map{more}, in {file} or in labelsTr; train without labels.yaml")


def _check_files(file: Path, scans: Iterable[ScanFiles]) -> None:
    paths = dict.fromkeys(path for scan in scans for path in scan.values())
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}: no such file{more}, named in {file}; complete the dataset")
