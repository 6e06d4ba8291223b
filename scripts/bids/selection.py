# SPDX-License-Identifier: Apache-2.0
"""Which scans of a BIDS dataset are registered to what, and the names of their results."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bids.dataset import PREPROC, BidsDataset, BidsScan, bids_name, check_derivatives
from scripts.io import MNI152, FilePath, check_is_text, existing_file, image_path, scan_name
from scripts.registration import LAST, ImageSources, Job, unfinished_jobs
from scripts.report import WARPS
from scripts.runtime import InputError


@dataclass(frozen=True, kw_only=True)
class BidsJob(Job):
    """A registration whose results get BIDS names.

    Attributes:
        space: label of the fixed space.
        names: names of the results in the folder of the subject, by those that `register` gives them.
        metadata: what BIDS wants in the sidecar of the moved scan.
    """

    space: str
    names: Mapping[str, str]
    metadata: Mapping[str, Any]

    @property
    def sidecar(self) -> Path:
        """The sidecar of the moved scan, which is written last."""
        return Path(self.folder) / self.names[LAST]


@dataclass(frozen=True)
class Selection:
    """What there is to do.

    Attributes:
        jobs: one for each scan.
        skipped: why others are left out, by the name of the subject or the scan.
    """

    jobs: Sequence[BidsJob]
    skipped: Mapping[str, str]


def select_scans(
    bids_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    to: str = MNI152,
    suffix: str = "T1w",
    participant_label: str | Sequence[str] | None = None,
) -> Selection:
    """The scans to register; prints what is left out, and why.

    Args:
        bids_dir: root of the dataset.
        output_dir: root of the derivatives.
        to: `mni152`, the path of an image, or the label of a session, whose scan of the same subject the others are
            registered to, with or without `ses-`.
        suffix: suffix of the scans.
        participant_label: labels of subjects, with or without `sub-`: a list, or a text with commas; None for all.

    Raises:
        InputError: if a folder, label or image is missing or unfit, or nothing is left to register.
    """
    for option, value in {"bids_dir": bids_dir, "output_dir": output_dir, "to": to, "suffix": suffix}.items():
        check_is_text(value, option)
    dataset = BidsDataset(bids_dir)
    check_derivatives(Path(output_dir), dataset.root)
    scans = dataset.scans(suffix)
    subjects = _participants(dataset, participant_label)
    session = _session(to, dataset, scans)
    fixed = None if session else existing_file(image_path(to))
    space = f"ses{session}" if session else _space_label(str(fixed))

    jobs: list[BidsJob] = []
    skipped: dict[str, str] = {}
    for subject in subjects:
        own = _usable([scan for scan in scans if scan.folder.parts[0] == f"sub-{subject}"], skipped)
        if not own:
            skipped[f"sub-{subject}"] = f"no {suffix} image"
        elif session:
            pairs = _session_pairs(f"sub-{subject}", own, session, skipped)
            jobs += [_job(dataset, Path(output_dir), target, scan, space) for target, scan in pairs]
        else:
            others = [scan for scan in own if os.path.realpath(scan.path) != os.path.realpath(str(fixed))]
            skipped |= {scan.path.name: "the fixed image itself" for scan in own if scan not in others}
            jobs += [_job(dataset, Path(output_dir), str(fixed), scan, space) for scan in others]
    for name, reason in skipped.items():
        print(f"skipped: {name}: {reason}", file=sys.stderr)
    if not jobs:
        raise InputError(f"{bids_dir}: nothing to register to {to}: {'; '.join(_first(skipped))}")
    return Selection(jobs, skipped)


def unfinished_scans(selection: Selection, settings: Mapping[str, Any]) -> list[BidsJob]:
    """The jobs of a selection that are not finished: see `registration.unfinished_jobs`."""
    return unfinished_jobs(selection.jobs, settings, lambda job: job.sidecar)


def _participants(dataset: BidsDataset, given: str | Sequence[str] | None) -> list[str]:
    """Labels of the subjects that are asked for."""
    if given is None:
        return dataset.subjects
    words: list[str] = list(given) if isinstance(given, list | tuple) else [str(given)]
    for word in words:
        check_is_text(word, "participant_label")
    labels = [part.strip().removeprefix("sub-") for word in words for part in word.split(",")]
    missing = [label for label in labels if label not in dataset.subjects]
    if missing:
        there = ", ".join(_first(dataset.subjects))
        raise InputError(f"{dataset.root}: no participant {', '.join(missing)} in it; there are {there}")
    return sorted(set(labels))


def _session(to: str, dataset: BidsDataset, scans: Sequence[BidsScan]) -> str | None:
    """Label of the session that `to` names; None for an image."""
    word = re.fullmatch(r"(?:ses-)?([A-Za-z0-9]+)", to)
    if to == MNI152 or not word:
        return None
    sessions = sorted({scan.entities["ses"] for scan in scans if "ses" in scan.entities})
    if word[1] not in sessions:
        there = f"a session of {dataset.root} ({', '.join(_first(sessions)) or 'there is none'})"
        raise InputError(f"--to {to}: neither {MNI152} nor {there}; a file needs its ending, or ./ before it")
    return word[1]


def _usable(scans: Sequence[BidsScan], skipped: dict[str, str]) -> list[BidsScan]:
    """The scans of a subject, each of which can have results of its own; notes what is left out."""
    usable: dict[str, BidsScan] = {}
    for scan in scans:
        folders = [f"{key}-{scan.entities[key]}" for key in ("sub", "ses") if key in scan.entities]
        result = bids_name({**scan.entities, "desc": PREPROC}, scan.suffix)
        if scan.folder.parent != Path(*folders):
            skipped[scan.path.name] = f"not in the folder {'/'.join(folders)} that BIDS wants for its name"
        elif result in usable:
            skipped[scan.path.name] = f"its results would get the names of those of {usable[result].path.name}"
        else:
            usable[result] = scan
    return list(usable.values())


def _session_pairs(
    subject: str, scans: Sequence[BidsScan], session: str, skipped: dict[str, str]
) -> list[tuple[str, BidsScan]]:
    """Fixed image and moving scan of each pair of a subject; notes what is left out."""
    fixed = [scan for scan in scans if scan.entities.get("ses") == session]
    others = [scan for scan in scans if scan.entities.get("ses") != session]
    if not fixed or not others:
        which = f"another session than {session}" if fixed else f"session {session}"
        skipped[subject] = f"no {scans[0].suffix} image of {which}"
        return []
    for scan in fixed[1:]:
        skipped[scan.path.name] = f"the scan of session {session} that others are registered to is {fixed[0].path.name}"
    return [(str(fixed[0].path), scan) for scan in others]


def _job(dataset: BidsDataset, out: Path, fixed: str, scan: BidsScan, space: str) -> BidsJob:
    subject = f"sub-{scan.entities['sub']}"
    place = scan.folder.relative_to(scan.folder.parts[0])
    moved = {**scan.entities, "space": space}
    preproc = place / bids_name({**moved, "desc": PREPROC}, scan.suffix)
    plain = {key: value for key, value in scan.entities.items() if key != "desc"}
    ways = ((scan.suffix, space), (space, scan.suffix))
    warps = (place / f"{bids_name(plain, f'from-{a}_to-{b}_mode-image_xfm')}.nii.gz" for a, b in ways)
    names = {
        "moved.nii.gz": Path(f"{preproc}.nii.gz"),
        "quality.nii.gz": place / f"{bids_name({**moved, 'desc': f'quality{scan.suffix}'}, 'probseg')}.nii.gz",
        **dict(zip(WARPS, warps, strict=True)),
        "moving_mask.nii.gz": place / f"{bids_name({**plain, 'desc': f'brain{scan.suffix}'}, 'mask')}.nii.gz",
        "report.html": Path("figures", f"{bids_name({**moved, 'desc': 'registration'}, scan.suffix)}.html"),
        LAST: Path(f"{preproc}.json"),
    }
    return BidsJob(
        name=scan.name,
        folder=str(out / subject),
        fixed=ImageSources(image=fixed),
        moving=ImageSources(image=str(scan.path)),
        space=space,
        names={name: path.as_posix() for name, path in names.items()},
        metadata={
            "Description": f"{scan.path.name}, registered to {scan_name(fixed)} and resampled on its grid",
            "Sources": [dataset.uri(path) for path in (scan.path, fixed)],
            "SpatialReference": dataset.uri(fixed),
        },
    )


def _space_label(fixed: FilePath) -> str:
    """Label of the space of an image: letters and digits of its name; of TemplateFlow's files that of the template."""
    name = scan_name(fixed)
    template = re.match(r"tpl-([A-Za-z0-9]+)_", name)
    label = template[1] if template else re.sub(r"[^A-Za-z0-9]", "", name)
    if not label:
        raise InputError(f"{fixed}: no letter or digit in its name, which would be the label of the space; rename it")
    return label


def _first(names: Sequence[str] | Mapping[str, str], count: int = 10) -> list[str]:
    """The first of many, for a message."""
    shown = [f"{name}: {text}" for name, text in names.items()] if isinstance(names, Mapping) else list(names)
    return [*shown[:count], f"and {len(shown) - count} more"] if len(shown) > count else shown
