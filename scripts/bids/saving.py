# SPDX-License-Identifier: Apache-2.0
"""Results of a registration as BIDS derivatives."""

from dataclasses import replace
from pathlib import Path

from scripts.bids.selection import BidsJob
from scripts.io import write_json
from scripts.registration import MeasuredRegistration, save_registration

_QUALITY = "Estimated probability that the border of a label, registered to this place, is at most 1 mm off"


def save_scan(registration: MeasuredRegistration) -> MeasuredRegistration:
    """Save a registration under the BIDS names of its job, and print its verdict.

    `metrics.json` becomes the sidecar of the moved scan, with what BIDS wants there beside the figures. The quality has
    one of its own.

    Args:
        registration: the results of a `BidsJob`.

    Returns:
        The registration, with the time that this took.
    """
    job = registration.job
    assert isinstance(job, BidsJob)
    metadata = {**job.metadata, "SkullStripped": not registration.moving.shows_head}
    described = replace(registration, metrics={**metadata, **registration.metrics})
    # Before the sidecar of the moved scan, with which all is there.
    quality = {"Description": _QUALITY, **{key: job.metadata[key] for key in ("Sources", "SpatialReference")}}
    write_json(Path(job.folder) / f"{job.names['quality.nii.gz'].removesuffix('.nii.gz')}.json", quality)
    saved = save_registration(described, Path(job.folder), composite=False, names=job.names)
    print(f"{registration.name}: {saved.metrics['verdict']}, {Path(job.folder) / job.names['report.html']}")
    return saved
