# SPDX-License-Identifier: Apache-2.0
"""The bundle as a submission to the MONAI Model Zoo."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from scripts.io import whole_folder
from scripts.runtime import InputError

BUNDLE_NAME = "brain_mri_registration"
PARTS = ("LICENSE", "configs", "docs", "models", "scripts")
TESTS = "tests/zoo"
LARGEST = 25 * 2**20  # bytes; the zoo downloads larger files from the addresses in large_files.yml

# The zoo's site shows docs/README.md, but no other file of that folder.
ADDRESS = f"https://github.com/Project-MONAI/model-zoo/raw/dev/models/{BUNDLE_NAME}/docs/"
RELATIVE_LINK = re.compile(r"(?<=\]\()(?!https?://|#)(?=[^)]+\))")


def package(output_dir: str) -> None:
    """Write the submission with the paths of a checkout of the zoo: `models/NAME`, and its tests in `ci/unit_tests`.

    It contains the files that git tracks, as they are in the working tree. Relative links in docs/README.md become
    addresses in the zoo.

    Args:
        output_dir: folder for the submission; must not exist.

    Raises:
        InputError: if the folder exists, the current folder is no git checkout, or a file is too large for the zoo.
    """
    if os.path.exists(output_dir):
        raise InputError(f"{output_dir}: exists already; remove it or choose another --output_dir")
    files, tests = _tracked_files(*PARTS), _tracked_files(TESTS)
    for name in files:
        if os.path.getsize(name) > LARGEST:
            raise InputError(f"{name}: more than {LARGEST >> 20} MB; the zoo wants it in large_files.yml")
    with whole_folder(output_dir) as folder:
        bundle = folder / "models" / BUNDLE_NAME
        for name in files:
            _copy(name, bundle / name)
        for name in tests:
            _copy(name, folder / "ci" / "unit_tests" / Path(name).name)
        card = bundle / "docs" / "README.md"
        card.write_text(RELATIVE_LINK.sub(ADDRESS, card.read_text()))


def _copy(name: str, target: Path) -> None:
    """Copy a file, or the target of a link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(name, target)


def _tracked_files(*paths: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z", "--", *paths], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise InputError(
            f"{Path.cwd()}: not a git checkout, which is needed to list the bundle's files; run this in one"
        )
    return listed.stdout.rstrip("\0").split("\0")
