"""The fields of a Learn2Reg submission."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scripts.datasets import validation_pairs
from scripts.io import open_image, whole_file, write_transform
from scripts.registration.pair import MeasuredRegistration
from scripts.registration.saving import write_metrics
from scripts.runtime import InputError, rank


def save_submission(registration: MeasuredRegistration, output_dir: str | os.PathLike[str]) -> MeasuredRegistration:
    """Write the field of a pair as Learn2Reg's evaluation reads it, and its metrics.json into the job's folder.

    `disp_{fixed}_{moving}.nii.gz`, `(X, Y, Z, 3)` float32, voxels. The ids in the name are the second part of the
    images' names, `0438` of `OASIS_0438_0000.nii.gz`.

    Args:
        registration: the results.
        output_dir: folder for all results; the fields go to `submission` in it.
    """
    folder = Path(output_dir) / "submission"
    folder.mkdir(parents=True, exist_ok=True)
    fixed, moving = (image.scan for image in registration.images)
    file = folder / submission_name(fixed.path, moving.path)
    write_transform(file, registration.warp, "learn2reg", fixed.grid, moving.grid)
    write_metrics(Path(registration.job.folder), registration.metrics)
    return registration


def zip_submission(output_dir: str | os.PathLike[str], dataset_dir: str, section: str | None = None) -> None:
    """Check the fields of `save_submission` against the dataset JSON and zip them as the challenge asks.

    Args:
        output_dir: folder of `save_submission`; gets `submission.zip`, one folder of fields.
        dataset_dir: Learn2Reg dataset.
        section: name of a list of pairs in its JSON; its validation pairs where None.

    Raises:
        InputError: for a field that is missing, not asked for, of another shape or type, or not finite.
    """
    if rank() > 0:
        return  # one process does it for all
    folder, archive = Path(output_dir) / "submission", Path(output_dir) / "submission.zip"
    wanted = {
        submission_name(pair["fixed"]["image"], pair["moving"]["image"]): pair["fixed"]["image"]
        for pair in validation_pairs(dataset_dir, section)
    }
    present = {file.name for file in folder.glob("*")}
    for problem, names in (
        ("is missing", set(wanted) - present),
        ("is no pair of the dataset file", present - set(wanted)),
    ):
        if names:
            raise InputError(f"{folder / min(names)}: {problem} (and {len(names) - 1} more); not zipped")
    for name, fixed in wanted.items():
        _check_submitted(folder / name, open_image(fixed).shape[:3])
    # Stored: the fields are compressed already.
    with whole_file(archive) as made, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as bundle:
        for name in sorted(wanted):
            bundle.write(folder / name, f"submission/{name}")
    print(f"{len(wanted)} fields, checked: {archive}")


def submission_name(fixed: str, moving: str) -> str:
    """`disp_{fixed}_{moving}.nii.gz` for the paths of two images.

    Raises:
        InputError: for an image that is not named `DATASET_ID_MODALITY`, as Learn2Reg's are.
    """
    ids = []
    for image in (fixed, moving):
        parts = Path(image).name.split("_")
        if len(parts) != 3 or not parts[1].isdigit():
            raise InputError(f"{image}: not named as Learn2Reg's images, such as OASIS_0438_0000.nii.gz")
        ids.append(parts[1])
    return f"disp_{ids[0]}_{ids[1]}.nii.gz"


def _check_submitted(path: Path, shape: Sequence[int]) -> None:
    image = open_image(path)
    if image.shape != (*shape, 3) or image.get_data_dtype() != np.float32:
        raise InputError(
            f"{path}: {image.shape} {image.get_data_dtype()}, while the fixed image asks for {(*shape, 3)} float32"
        )
    if not np.isfinite(np.asarray(image.dataobj)).all():
        raise InputError(f"{path}: holds NaN or infinity")
