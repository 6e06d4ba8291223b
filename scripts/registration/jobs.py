# SPDX-License-Identifier: Apache-2.0
"""The registrations of a run: one pair of files, a list of pairs, or a Learn2Reg dataset."""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from scripts.datasets import validation_pairs
from scripts.io import cells_by_column, check_is_text, image_path, read_csv, read_json, scan_name, source_name
from scripts.registration.fingerprint import settings_digests, source_digest, source_digests
from scripts.registration.pair import ROLES, Digests, ImageSources, Job
from scripts.registration.saving import LAST
from scripts.runtime import InputError, rank, share

_EXTRAS = ("mask", "exclude", "label", "landmarks")
AnyJob = TypeVar("AnyJob", bound=Job)
_COLUMNS = (*ROLES, *(f"{role}_{extra}" for role in ROLES for extra in _EXTRAS), "name")


def registration_jobs(
    output_dir: str | os.PathLike[str],
    files: Mapping[str, str | None],
    pairs: str | None = None,
    dataset_dir: str | None = None,
    section: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Job]:
    """The jobs of a run.

    The results of a single pair go into `output_dir` itself, those of a list or a dataset into one folder for each
    pair. Pairs of a list or a dataset that are finished already are left out: those with the same content of all files,
    the same settings and the same version of the bundle, whose results are all there.

    Args:
        output_dir: folder for the results.
        files: paths for a single pair, by `fixed`, `moving`, `fixed_mask`, `moving_label` and so on; None if not given.
            The images may be `mni152`, the template, here as in `pairs`.
        pairs: CSV file with these names as header, or JSON file with a list of objects with these keys. Paths are
            relative to the file. An optional `name` names the folder, by default `FIXED_MOVING`.
        dataset_dir: Learn2Reg dataset.
        section: name of a list of pairs in the dataset's JSON; None for its validation pairs.
        settings: all that the results depend on beside the pair's files, ready for JSON.

    Returns:
        The jobs that are not finished.

    Raises:
        InputError: unless exactly one of `files`, `pairs` and `dataset_dir` is given; for a section without a dataset;
            if a list or dataset is bad, or two jobs have the same name.
    """
    for option, value in {**files, "pairs": pairs, "dataset_dir": dataset_dir}.items():
        if value is not None:
            check_is_text(value, option)
    if section is not None and dataset_dir is None:
        raise InputError(f"--section {section}: names a list of pairs of a dataset; give --dataset_dir, too")
    given = {name: str(path) for name, path in _with_template(files).items() if path is not None}
    if sum((bool(given), pairs is not None, dataset_dir is not None)) != 1 or (given and not set(ROLES) <= set(given)):
        raise InputError("give either --fixed and --moving, or --pairs, or --dataset_dir")
    if given:
        fixed, moving = (_image_files(given, role) for role in ROLES)
        return [_job(fixed, moving, lambda name: str(output_dir))]

    def folder(name: str) -> str:
        return str(Path(output_dir) / name)

    if pairs is None:
        jobs = _with_unique_names(_dataset_jobs(str(dataset_dir), section, folder), str(dataset_dir))
    else:
        jobs = listed_jobs(pairs, folder)
    return unfinished_jobs(jobs, settings or {})


def listed_jobs(pairs: str, folder: Callable[[str], str] = str) -> list[Job]:
    """The jobs of a list of pairs.

    Args:
        pairs: as in `registration_jobs`.
        folder: function from the name of a pair to the folder of its results.

    Raises:
        InputError: if the list is bad, or two pairs have the same name.
    """
    file = Path(pairs).expanduser()
    rows = _json_rows(file) if file.suffix.lower() == ".json" else _csv_rows(file)
    if not rows:
        raise InputError(f"{file}: no pairs in it; want a row for each, with fixed and moving")
    return _with_unique_names([_listed_job(row, number, file, folder) for number, row in enumerate(rows, 1)], pairs)


def shared_jobs(**arguments: Any) -> list[Job]:
    """This process's part of the jobs. Rank 0 lists them for all, as a pair may be finished before another rank looks.

    Args:
        arguments: arguments of `registration_jobs`.

    Raises:
        InputError: as in `registration_jobs`.
    """
    found = [registration_jobs(**arguments) if rank() == 0 else None]
    dist.broadcast_object_list(found)
    return share(found[0] or [])


def _job(fixed: ImageSources, moving: ImageSources, folder: Callable[[str], str], name: str | None = None) -> Job:
    name = name or f"{scan_name(source_name(fixed.image))}_{scan_name(source_name(moving.image))}"
    return Job(name=name, folder=folder(name), fixed=fixed, moving=moving)


def _with_template(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a pair, the template's file in the place of its name."""
    return {name: image_path(value) if name in ROLES else value for name, value in values.items()}


def _image_files(paths: Mapping[str, str], role: str) -> ImageSources:
    return ImageSources(image=paths[role], **{extra: paths.get(f"{role}_{extra}") or None for extra in _EXTRAS})


def _dataset_jobs(dataset_dir: str, section: str | None, folder: Callable[[str], str]) -> list[Job]:
    pairs = validation_pairs(dataset_dir, section)
    return [_job(ImageSources(**pair["fixed"]), ImageSources(**pair["moving"]), folder) for pair in pairs]


def _listed_job(row: Mapping[str, Any], number: int, file: Path, folder: Callable[[str], str]) -> Job:
    unknown = [str(name) for name in row if name not in _COLUMNS]
    if unknown:
        raise InputError(f"{file}: unknown column {unknown[0]!r}; the columns are {', '.join(_COLUMNS)}")
    values = _with_template({name: str(value).strip() for name, value in row.items() if value})
    missing = [role for role in ROLES if not values.get(role)]
    if missing:
        raise InputError(f"{file}: pair {number} has no '{missing[0]}' image; correct it")
    if Path(values.get("name", "x")).name != values.get("name", "x"):
        raise InputError(f"{file}: pair {number}: the name {values['name']!r} is not the name of a folder; correct it")
    paths = {key: os.path.abspath(file.parent / Path(path).expanduser()) for key, path in values.items()}
    fixed, moving = (_image_files(paths, role) for role in ROLES)
    return _job(fixed, moving, folder, values.get("name"))


def _with_unique_names(jobs: list[Job], source: str) -> list[Job]:
    for name, count in Counter(job.name for job in jobs).items():
        if count > 1:
            raise InputError(f"{source}: {count} pairs would be written to {name}; name them in a column 'name'")
    return jobs


def _csv_rows(file: Path) -> Sequence[Mapping[str, Any]]:
    rows = read_csv(file).rows
    cells = cells_by_column(rows[0].cells, rows[1:], file) if rows else {}
    return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]


def _json_rows(file: Path) -> Sequence[Mapping[str, Any]]:
    rows = read_json(file)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(
            f'{file}: want a list such as [{{"fixed": "a.nii.gz", "moving": "b.nii.gz"}}]; '
            "a Learn2Reg dataset goes to --dataset_dir"
        )
    return rows


def unfinished_jobs(
    jobs: Sequence[AnyJob],
    settings: Mapping[str, Any],
    metrics_file: Callable[[AnyJob], Path] = lambda job: Path(job.folder) / LAST,
) -> list[AnyJob]:
    """The jobs that are to be done; prints how many are finished, and why others are done anew.

    Args:
        jobs: all jobs.
        settings: as in `registration_jobs`.
        metrics_file: where the metrics of a job are; other files that they name are relative to their folder.
    """
    wanted, digest = settings_digests(settings), cache(source_digest)  # many pairs share an image
    changes = [_changes(job, metrics_file(job), wanted, digest) for job in jobs]
    finished = sum(not found for found in changes if found is not None)
    if finished:
        print(f"{finished} of {len(jobs)} pairs are finished already")
    reasons = Counter(name for found in changes for name in found or ())
    if reasons:
        counted = ", ".join(f"{name} ({count})" for name, count in reasons.items())
        print(f"{sum(bool(found) for found in changes)} pairs are done anew, as something has changed: {counted}")
    return [job for job, found in zip(jobs, changes, strict=True) if found != []]


def _changes(job: Job, metrics_file: Path, wanted: Digests, digest: Callable[[Any], str | None]) -> list[str] | None:
    """What the results of a job do not share with those to be made; None where there are no results."""
    try:
        # It is written last: where it is, the others are complete.
        metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
        found, results = dict(metrics.get("fingerprint", {})), list(metrics.get("files", ()))
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    changed = _differing(found, wanted)
    if changed:
        return changed  # without reading the images
    if not all((metrics_file.parent / name).exists() for name in results):
        return ["files of the result"]
    return _differing(found, source_digests(job, digest))


def _differing(found: Digests, wanted: Digests) -> list[str]:
    return [name for name, value in wanted.items() if name not in found or found[name] != value]
