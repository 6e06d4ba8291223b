# SPDX-License-Identifier: Apache-2.0
"""The ICBM152 2009a symmetric template, which the package nilearn carries: a skull-stripped T1 brain, 1 mm, RAS."""

import importlib.util
import os
from pathlib import Path
from typing import Literal, TypeVar

from scripts.io.files import FilePath
from scripts.runtime import InputError

MNI152 = "mni152"  # the word that stands for the template's T1 image in the place of a path
_NAME = "MNI152NLin2009aSym"  # in the way of BIDS and TemplateFlow
_FILE = "mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"

Image = TypeVar("Image")


def template_file(kind: Literal["t1", "gm", "wm"] = "t1") -> Path:
    """A file of the template.

    Args:
        kind: the T1 image, or the probability of gray or white matter times 255; all on one grid.

    Raises:
        InputError: if nilearn is not installed, or has no such file.
    """
    folder = _folder()
    if folder is None:
        raise InputError(
            f"{MNI152}: the template comes with nilearn, which is not installed; pip install '.[template]'"
        )
    file = folder / _FILE.format(kind=kind)
    if not file.is_file():
        raise InputError(f"{file}: no such file in this version of nilearn; pip install '.[template]'")
    return file


def image_path(image: Image) -> Image | str:
    """The path of the template's T1 image for the text `mni152`; any other image as it is.

    The text always means the template; `./mni152`, and a `Path`, is a file of that name.

    Raises:
        InputError: as `template_file`.
    """
    return str(template_file()) if isinstance(image, str) and image == MNI152 else image


def template_name(path: FilePath) -> str | None:
    """Name of the template that this file is the T1 image of; None for any other file."""
    folder = _folder()
    is_template = folder is not None and os.path.realpath(path) == os.path.realpath(folder / _FILE.format(kind="t1"))
    return _NAME if is_template else None


def _folder() -> Path | None:
    """Folder of nilearn's data; nilearn itself is not imported, which would take seconds."""
    found = importlib.util.find_spec("nilearn")
    places = found.submodule_search_locations if found else None
    return Path(places[0]) / "datasets" / "data" if places else None
