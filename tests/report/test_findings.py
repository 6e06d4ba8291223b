# SPDX-License-Identifier: Apache-2.0
"""The first table of a report: what the scans were found to be."""

from typing import Any

import pytest

from scripts.report.findings import findings

HEAD = {"shows_head": True, "mask_from": "deepbet 1.0.2", "cuts": []}
BRAIN = {"shows_head": False, "mask_from": None, "cuts": []}


def test_what_both_scans_share_is_one_row(metrics: dict[str, Any]) -> None:
    for role in ("fixed", "moving"):
        metrics[role] |= HEAD
    metrics["local_correlation_before"] = 0.312
    assert findings(metrics) == [
        (
            "Both scans",
            "whole head",
            "its brain was found by deepbet 1.0.2; the rest is background, and the mask is saved",
        ),
        (
            "Both scans",
            "voxels of 1 × 0.938 × 1.5 mm, axes LAS",
            "resampled for the network; results are on the scan's own grid",
        ),
        ("Both scans", "not cut off", "all of it is compared"),
        (
            "Both scans",
            "left and right: sform (scanner)",
            "cannot be checked, as the halves of a brain are alike",
        ),
        ("Both scans", "one contrast, as it seems (local correlation 0.31)", "registered as they are"),
    ]


@pytest.mark.parametrize(
    ("facts", "found", "done"),
    [
        (BRAIN, "skull-stripped, as it seems", "used as it is"),
        ({**BRAIN, "shows_head": True}, "whole head", "used as it is"),
        ({"shows_head": None, "mask_from": "file"}, "brain mask given", "what it leaves out is background"),
        ({"cuts": ["top", "left"]}, "cut off at its top and left", "not compared beyond"),
        ({"excluded_ml": 24.43}, "24.4 ml excluded", "not compared; the field follows what is around"),
        ({"spacing_mm": [0.5, 0.5, 4]}, "voxels of 0.5 × 0.5 × 4 mm, thick slices, axes LAS", "resampled"),
    ],
)
def test_each_scan_has_its_own_row_where_they_differ(
    metrics: dict[str, Any], facts: dict[str, Any], found: str, done: str
) -> None:
    metrics["fixed"] |= HEAD
    metrics["moving"] |= HEAD | facts
    rows = [row for row in findings(metrics) if row[0] == "Moving scan"]
    assert len(rows) == 1 and rows[0][1] == found and done in rows[0][2]


def test_contrasts_that_differ(metrics: dict[str, Any]) -> None:
    metrics |= {"local_correlation_before": -0.2, "in_one_contrast": True, "rejected": {"lncc": 0.5}}
    _, found, done = findings(metrics)[-1]
    assert found == "different contrasts, as it seems (local correlation -0.20)"
    assert done == "registered in the contrast of either, in vain: the affine alignment alone was saved"
