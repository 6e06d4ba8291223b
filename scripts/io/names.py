# SPDX-License-Identifier: Apache-2.0
"""Names of scans."""

from pathlib import Path

from scripts.io.files import FilePath
from scripts.io.template import template_name


def scan_name(path: FilePath) -> str:
    """File name without folder and ending: `OASIS_1003` for `…/OASIS_1003.nii.gz`; of the template its own name."""
    return template_name(path) or Path(Path(path).name.removesuffix(".gz")).stem
