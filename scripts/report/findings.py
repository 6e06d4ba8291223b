# SPDX-License-Identifier: Apache-2.0
"""What a registration found its scans to be, and what was done about it: the first table of a report."""

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.report.verdict import DIFFERENT_CONTRASTS

_ROLES = ("fixed", "moving")
_THICK = 2.0  # ratio of the largest to the smallest voxel edge from which slices are called thick

Finding = tuple[str, str]  # what was found, what was done about it


def findings(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the table: whom it is about, what was found, what was done about it.

    Args:
        metrics: content of metrics.json; what it does not tell has no row.
    """
    fixed, moving = (list(_of_image(metrics[role])) for role in _ROLES)
    rows = []
    for first, second in zip(fixed, moving, strict=True):
        if first == second:
            rows += [("Both scans", *first)] if first else []
        else:
            rows += [
                (f"{role.title()} scan", *found) for role, found in zip(_ROLES, (first, second), strict=True) if found
            ]
    return rows + [("Both scans", *found) for found in _of_pair(metrics)]


def _of_image(image: Mapping[str, Any]) -> Iterator[Finding | None]:
    """One entry for each question, so that those of two images can be compared."""
    yield _skull(image)
    yield _voxels(image)
    yield _cuts(image)
    excluded = image.get("excluded_ml")
    yield (f"{excluded:.1f} ml excluded", "not compared; the field follows what is around") if excluded else None
    yield _space(image)


def _skull(image: Mapping[str, Any]) -> Finding | None:
    source, head = image.get("mask_from"), image.get("shows_head")
    if source == "file":
        return "brain mask given", "what it leaves out is background"
    if source:
        done = f"its brain was found by {source}; the rest is background, and the mask is saved"
        return ("whole head" if head else "no skull, as it seems", done)
    if head is None:
        return None
    return ("whole head", "used as it is") if head else ("skull-stripped, as it seems", "used as it is")


def _voxels(image: Mapping[str, Any]) -> Finding:
    spacing = image["spacing_mm"]
    thick = ", thick slices" if max(spacing) >= _THICK * min(spacing) else ""
    sizes = " × ".join(f"{edge:.3g}" for edge in spacing)
    done = "resampled for the network; results are on the scan's own grid"
    return f"voxels of {sizes} mm{thick}, axes {image['orientation']}", done


def _cuts(image: Mapping[str, Any]) -> Finding | None:
    if "cuts" not in image:
        return None
    sides = " and ".join(image["cuts"])
    return (f"cut off at its {sides}", "not compared beyond") if sides else ("not cut off", "all of it is compared")


def _space(image: Mapping[str, Any]) -> Finding:
    return f"left and right: {image['space']}", "cannot be checked, as the halves of a brain are alike"


def _of_pair(metrics: Mapping[str, Any]) -> Iterator[Finding]:
    correlation = metrics.get("local_correlation_before")
    if correlation is not None:
        differ = correlation < DIFFERENT_CONTRASTS
        kind = "different contrasts, as it seems" if differ else "one contrast, as it seems"
        either = metrics.get("in_one_contrast")
        done = "registered in the contrast of either" if either else "registered as they are"
        if metrics.get("rejected"):
            done += ", in vain: the affine alignment alone was saved"
        yield f"{kind} (local correlation {correlation:.2f})", done
