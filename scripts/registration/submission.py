# SPDX-License-Identifier: Apache-2.0
"""The fields of a Learn2Reg submission."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scripts.datasets import validation_pairs
from scripts.io import open_image, whole_file, whole_folder, write_json, write_transform
from scripts.registration.pair import MeasuredRegistration, advanced
from scripts.registration.saving import LAST, OUTPUTS
from scripts.runtime import InputError, rank


def save_submission(registration: MeasuredRegistration, output_dir: str | os.PathLike[str]) -> MeasuredRegistration:
    """Write the field of a pair in Learn2Reg's format, and its metrics.json into the job's folder.

    The field is `disp_{fixed}_{moving}.nii.gz`, `(X, Y, Z, 3)` float32, voxels. The ids in its name are the second part
    of the images' names, such as `0438` of `OASIS_0438_0000.nii.gz`.

    Args:
        registration: the registration.
        output_dir: folder for all results; the field goes to `submission` in it.

    Returns:
        The registration.

    Raises:
        InputError: if an image has a name without an id.
    """
    folder = Path(output_dir) / "submission"
    folder.mkdir(parents=True, exist_ok=True)
    fixed, moving = (image.scan for image in registration.images)
    file = folder / submission_name(fixed.path, moving.path)
    write_transform(file, registration.warp, "learn2reg", fixed.grid, moving.grid)
    metrics = {**registration.metrics, "files": [os.path.relpath(file, registration.job.folder)]}
    with whole_folder(registration.job.folder, last=LAST, ours=OUTPUTS) as target:
        write_json(target / LAST, metrics)
    return advanced(MeasuredRegistration, registration, metrics=metrics)


def zip_submission(output_dir: str | os.PathLike[str], dataset_dir: str, section: str | None = None) -> None:
    """Check the fields of `save_submission` against the dataset's JSON and zip them for the challenge.

    Args:
        output_dir: folder of `save_submission`; `submission.zip` is written into it.
        dataset_dir: Learn2Reg dataset.
        section: name of a list of pairs in the dataset's JSON; None for its validation pairs.

    Raises:
        InputError: if a field is missing, is of no pair in the JSON, has another shape or type, or is not finite.
    """
    if rank() > 0:
        return  # rank 0 writes for all processes
    folder, archive = Path(output_dir) / "submission", Path(output_dir) / "submission.zip"
    wanted = submission_fields(dataset_dir, section)
    present = {file.name for file in folder.glob("*")}
    for problem, names in (
        ("is missing", set(wanted) - present),
        ("is no pair of the dataset file", present - set(wanted)),
    ):
        if names:
            raise InputError(f"{folder / min(names)}: {problem} (and {len(names) - 1} more); not zipped")
    for name, fixed in wanted.items():
        _check_field(folder / name, open_image(fixed).shape[:3])
    # Stored: the fields are compressed already.
    with whole_file(archive) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(wanted):
            file.write(folder / name, f"submission/{name}")
    print(f"{len(wanted)} fields, checked: {archive}")


def submission_fields(dataset_dir: str, section: str | None = None) -> dict[str, str]:
    """File name of the field and fixed image of each pair of a submission.

    Args:
        dataset_dir: Learn2Reg dataset.
        section: name of a list of pairs in the dataset's JSON; None for its validation pairs.

    Raises:
        InputError: as `validation_pairs` and `submission_name`, or if two pairs have one file name.
    """
    fields: dict[str, str] = {}
    for pair in validation_pairs(dataset_dir, section):
        fixed, moving = pair["fixed"]["image"], pair["moving"]["image"]
        name = submission_name(fixed, moving)
        if name in fields:
            raise InputError(f"{dataset_dir}: two pairs have the field {name}, one is {fixed} and {moving}; rename it")
        fields[name] = fixed
    return fields


def submission_name(fixed: str, moving: str) -> str:
    """File name of a pair's field, `disp_{fixed}_{moving}.nii.gz`.

    Args:
        fixed: path of the fixed image.
        moving: path of the moving image.

    Raises:
        InputError: if an image is not named `DATASET_ID_MODALITY`, as Learn2Reg's are.
    """
    ids = []
    for image in (fixed, moving):
        parts = Path(image).name.split("_")
        if len(parts) != 3 or not parts[1].isdigit():
            raise InputError(f"{image}: not named as Learn2Reg's images, such as OASIS_0438_0000.nii.gz")
        ids.append(parts[1])
    return f"disp_{ids[0]}_{ids[1]}.nii.gz"


def _check_field(path: Path, shape: Sequence[int]) -> None:
    """Check shape, type and values of a field for a fixed image of this shape."""
    image = open_image(path)
    if image.shape != (*shape, 3) or image.get_data_dtype() != np.float32:
        raise InputError(
            f"{path}: {image.shape} {image.get_data_dtype()}, but the fixed image needs {(*shape, 3)} float32"
        )
    if not np.isfinite(np.asarray(image.dataobj)).all():
        raise InputError(f"{path}: contains NaN or infinity")
