# SPDX-License-Identifier: Apache-2.0
"""What the result of a registration depends on, as digests: two runs with the same ones give the same result.

Contents count, not where the files lie. The device and the number of threads, which change the last digits only, do
not count.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from nibabel.spatialimages import SpatialImage

from scripts.io import file_sha256, image_files
from scripts.registration.pair import ROLES, Digests, Job
from scripts.runtime import InputError, bundle_version

UNREADABLE, HELD_IN_MEMORY = "unreadable", "in memory"


def source_digest(source: Any) -> str | None:
    """SHA-256 of a file, or of those of a pair of files (`.hdr` with `.img`), one after the other.

    Args:
        source: one of the values of `ImageSources`.

    Returns:
        Hexadecimal digits; None where there is nothing, a word for what has no digest: it equals that of no file.
    """
    if source is None:
        return None
    path = source.get_filename() if isinstance(source, SpatialImage) else source
    if not isinstance(path, str | Path):
        return HELD_IN_MEMORY
    try:
        digests = [file_sha256(file) for file in image_files(path)]
    except (InputError, OSError):
        return UNREADABLE  # whoever reads it says why
    return digests[0] if len(digests) == 1 else _text_sha256("".join(digests))


def source_digests(job: Job, digest: Callable[[Any], str | None] = source_digest) -> Digests:
    """The digests of all that belongs to the images of a job, by names such as `fixed mask`.

    Args:
        job: the images.
        digest: function that is used in the place of `source_digest`, such as one that remembers.
    """
    sources = ((role, kind.name, getattr(getattr(job, role), kind.name)) for role, kind in _places(job))
    return {f"{role} {name}": digest(source) for role, name, source in sources}


def settings_digests(settings: Mapping[str, Any]) -> Digests:
    """The digests of all that does not belong to the images.

    Args:
        settings: what the results depend on, ready for JSON; entries named `path` do not count.

    Returns:
        `version` of the bundle, and `settings`. Another version may align, move and judge otherwise, and a table of
        many pairs would mix the results of two.
    """
    return {"version": bundle_version(), "settings": json_sha256(_without_paths(settings))}


def json_sha256(value: Any) -> str:
    """SHA-256 of a value that JSON can hold."""
    return _text_sha256(json.dumps(value, sort_keys=True))


def described_init(init: str) -> str | dict[str, str]:
    """The option `--init` for the settings: its word; of a file path and SHA-256, as of the weights."""
    is_file = isinstance(init, str | Path) and Path(init).expanduser().is_file()
    return {"path": str(init), "sha256": file_sha256(init)} if is_file else init


def described_network(network: Any) -> str:
    """A network for the settings: SHA-256 of how torch shows it, as the same weights fit several networks."""
    return _text_sha256(str(network))


def _places(job: Job) -> list[tuple[str, Any]]:
    return [(role, kind) for role in ROLES for kind in fields(getattr(job, role))]


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_paths(item) for key, item in value.items() if key != "path"}
    return value


def _text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
