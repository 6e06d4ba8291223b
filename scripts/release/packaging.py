"""The bundle as the MONAI Model Zoo wants it."""

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
LARGEST = 25 * 2**20  # bytes: larger files lie elsewhere, and large_files.yml tells where

# The zoo's site shows docs/README.md, but none of its neighbours.
ADDRESS = f"https://github.com/Project-MONAI/model-zoo/raw/dev/models/{BUNDLE_NAME}/docs/"
RELATIVE_LINK = re.compile(r"(?<=\]\()(?!https?://|#)(?=[^)]+\))")


def package(output_dir: str) -> None:
    """Write what is submitted, placed as in a checkout of the zoo: `models/NAME`, and its tests in `ci/unit_tests`.

    Files are those that git knows, as they are in the working tree. Links of docs/README.md to its neighbours become
    addresses in the zoo.

    Args:
        output_dir: a folder to make.

    Raises:
        InputError: if that exists, outside a git checkout, or for a file that is too large for the zoo.
    """
    if os.path.exists(output_dir):
        raise InputError(f"{output_dir}: is there already; remove it or choose another --output_dir")
    files, tests = _known_to_git(*PARTS), _known_to_git(TESTS)
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
    """Copy a file, or what a link leads to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(name, target)


def _known_to_git(*paths: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z", "--", *paths], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise InputError(f"{Path.cwd()}: not a git checkout, which tells the bundle's files from others")
    return listed.stdout.rstrip("\0").split("\0")
