# SPDX-License-Identifier: Apache-2.0
"""Names of files."""

from pathlib import Path

from scripts.io.files import FilePath


def scan_name(path: FilePath) -> str:
    """File name without folder and ending: `OASIS_1003_0000` for `…/OASIS_1003_0000.nii.gz`."""
    return Path(Path(path).name.removesuffix(".gz")).stem
