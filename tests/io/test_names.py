# SPDX-License-Identifier: Apache-2.0
"""The name of a scan is that of its file without the ending."""

import pytest

from scripts.io import scan_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/OASIS_1003_0000.nii.gz", "OASIS_1003_0000"),
        ("scan.nii", "scan"),
        ("scan.mgz", "scan"),
        ("scan.img", "scan"),
        ("sub-01.ses-2.nii.gz", "sub-01.ses-2"),
        ("scan", "scan"),
    ],
)
def test_scan_name(path: str, name: str) -> None:
    assert scan_name(path) == name
