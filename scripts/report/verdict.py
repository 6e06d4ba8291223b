# SPDX-License-Identifier: Apache-2.0
"""Whether a registration can be used: rules on its metrics, each limit with its reason.

The limits were set on skull-stripped T1 scans of 1 mm, registered by weights of this project. There pairs with a good
affine alignment have a similarity (LNCC) of 0.2 to 0.4 before the deformable part and of 0.7 to 0.9 after it. Brains
that are rotated by 90 to 180 degrees or 15 mm off have less than 0.14 before and less than 0.67 after: the network
deforms one brain to the outline of the other without folding, so neither the gain nor the overlap shows the failure.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.report.signatures import ROUGH_NDV_PERCENT, signatures

_NEEDED = {
    "lncc_before": "the similarity before",
    "lncc": "the similarity after",
    "foreground_dice": "the overlap of the foregrounds",
    "foreground_folding_percent": "the folding",
    "max_displacement_mm": "the largest displacement",
}

# Similarity (LNCC).
UNRELATED = 0.15  # after; noise and a brain reach 0.01
UNALIGNED_BEFORE = 0.15  # the affine alignment has failed below it, see above
# A network that begins below it either folds (`ROUGH_NDV_PERCENT`) or does not match the images (`UNALIGNED_AFTER`): of
# 57 pairs that `study alignment` turned, shifted or scaled and left unaligned, 54 begin so, and end 3 to 96 mm off. For
# 53 of them the verdict is "fail".
# Four pairs of adults and infants, the right affine followed by 90, 120 or 180 degrees: 0.07 to 0.13 before, 0.55 to
# 0.67 after. Right ones had 0.21 to 0.31 before, 0.68 (infants) to 0.83 after.
UNALIGNED_AFTER = 0.7
LOW_MATCH = 0.6  # right ones reach less with noise of 10 %
GOOD_MATCH = 0.8  # little can be gained or lost above it
FALL = 0.01  # rounding and interpolation change the similarity by less
SMALL_GAIN = 0.05  # pairs of different people gain 0.4 and more

# Local correlation after the affine alignment, see `metrics.local_correlation`. Measured on 75 pairs of adults,
# infants, heads and patients, T1, T2, FLAIR, PD and maps of T1 to other contrasts: scans of one contrast have 0.21 and
# more, scans of two at most 0. Twelve of two contrasts with thick slices have up to 0.24. The limit lies above these:
# two T1 scans that were taken for two contrasts lost 0.001 to 0.002 of Dice.
DIFFERENT_CONTRASTS = 0.25

# Overlap of the foregrounds (Dice). Brains of two people have 0.95 after the affine alignment and 0.99 after the
# deformable part; a whole head and its own brain have 0.63 to 0.69.
NO_OVERLAP = 0.8
POOR_OVERLAP = 0.9

# Folding, in percent of the foreground. Diffeomorphic fields of this project have 0.0001, fields that are the sum of
# several scales about 0.2 (EOIR on LUMIR); 1 % of a brain is more than 10 ml.
FOLDED = 0.1
MUCH_FOLDED = 1.0

ROUGH = 0.15  # SDlogJ: pairs of people have 0.08 to 0.09, noise and a brain 0.14
FAR = 35.0  # mm: after an affine alignment no part of a brain has to move as far
INCONSISTENT = 1.0  # mm, one voxel: distance of a point from itself after both warps

# Heads of adults differ less in size and are tilted less in a scanner: beyond, the header or the affine may be wrong.
# A right rotation leaves a similarity of 0.2 and more (header turned by 90 or 180 degrees), a wrong one less than
# UNALIGNED_BEFORE, whatever the network makes of it. A size that is wrong by 1.15 to 1.25 has 0.03 to 0.10, but the
# network can mend it (0.64 to 0.82 after): that alone is no failure.
SCALES = 0.75, 1.3
TILTED = 45.0  # degrees


def judge(metrics: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Judge a registration by its metrics.

    Args:
        metrics: content of metrics.json so far. `lncc_before`, `lncc`, `foreground_dice`, `foreground_folding_percent`
            and `max_displacement_mm` are needed; rules on other entries that are missing are skipped.

    Returns:
        `pass`, `look` or `fail`, and the reasons, at least one, those of failures first.
    """
    numbers = {key: value for key in metrics if (value := _finite(metrics[key])) is not None}
    rejected = metrics.get("rejected")
    alike = _rejected(rejected) if rejected else _similarity(numbers)
    findings = [*_missing(numbers), *alike, *_overlap(numbers), *_deformation(numbers)]
    findings += [*_signatures(metrics), *_affine(metrics.get("affine") or {}, numbers), *_warnings(metrics)]
    for verdict in ("fail", "look"):
        if any(found == verdict for found, _ in findings):
            return verdict, [reason for _, reason in sorted(findings, key=lambda finding: finding[0] != "fail")]
    return "pass", [_summary(numbers)]


# Each rule yields findings: a verdict and its reason. A needed metric that is missing has its own finding; the other
# rules see NaN in its place, which is neither above nor below a limit.
_Findings = Iterator[tuple[str, str]]


def _missing(numbers: Mapping[str, float]) -> _Findings:
    for key, name in _NEEDED.items():
        if key not in numbers:
            yield "fail", f"{name} could not be measured"


def _similarity(numbers: Mapping[str, float]) -> _Findings:
    before, after = numbers.get("lncc_before", math.nan), numbers.get("lncc", math.nan)
    folded = numbers.get("foreground_ndv_percent", 0.0)
    if after < UNRELATED:
        yield "fail", f"the images have nothing in common (similarity {after:.2f}); are both of them brains?"
    elif before < UNALIGNED_BEFORE and (after < UNALIGNED_AFTER or folded > ROUGH_NDV_PERCENT):
        yield (
            "fail",
            f"the brains were not aligned when the deformable part began (similarity {before:.2f} before, "
            f"{after:.2f} after); check the headers' orientation, or start from a transform of your own (--init)",
        )
    elif after < before - FALL and after < GOOD_MATCH:
        yield "fail", f"the similarity fell from {before:.2f} to {after:.2f}"
    elif after < before - FALL:
        yield "look", f"the scans were more alike before ({before:.2f}) than after ({after:.2f}): use the affine alone"
    elif before < UNALIGNED_BEFORE:
        yield "look", f"the affine alignment was poor (similarity {before:.2f} before, {after:.2f} after)"
    elif before < GOOD_MATCH and after < before + SMALL_GAIN:
        yield "look", f"the deformable part has gained little (similarity {before:.2f} before, {after:.2f} after)"
    elif after < LOW_MATCH:
        yield (
            "look",
            f"the similarity is low after the registration ({after:.2f}): noise, another kind of scan, or a poor match",
        )


def _rejected(rejected: Mapping[str, float]) -> _Findings:
    before, after = rejected["mutual_information_before"], rejected["mutual_information"]
    what = "made the images less alike" if after < before else "hardly made the images more alike"
    yield (
        "fail",
        f"the deformation {what} (mutual information {before:.3f} before, {after:.3f} after): scans of different "
        "contrasts, or not aligned? The affine alignment alone was saved",
    )
    # What the deformation reached tells of the affine alignment, too.
    yield from (finding for finding in _similarity(rejected) if finding[0] == "fail")


def _overlap(numbers: Mapping[str, float]) -> _Findings:
    overlap = numbers.get("foreground_dice", math.nan)
    if overlap < POOR_OVERLAP:
        yield (
            "fail" if overlap < NO_OVERLAP else "look",
            f"the foregrounds overlap by {100 * overlap:.0f} % only (Dice): is one scan with its skull, or cut off?",
        )


def _deformation(numbers: Mapping[str, float]) -> _Findings:
    share = numbers.get("foreground_folding_percent", 0.0)
    if share > FOLDED:
        yield "fail" if share > MUCH_FOLDED else "look", f"{share:.2g} % of the foreground is folded"
    limits = (
        ("sdlogj", ROUGH, "the deformation is rough (SDlogJ {:.2f})"),
        ("max_displacement_mm", FAR, "the deformable part moves a point by {:.0f} mm"),
        ("inverse_consistency_mean_mm", INCONSISTENT, "forward and inverse field differ by {:.1f} mm on average"),
    )
    for key, limit, reason in limits:
        if numbers.get(key, 0.0) > limit:
            yield "look", reason.format(numbers[key])


def _signatures(metrics: Mapping[str, Any]) -> _Findings:
    for signature in signatures(metrics):
        much = signature.name == "rough" and metrics["foreground_ndv_percent"] > MUCH_FOLDED
        yield "fail" if much else "look", f"{signature.found}: {signature.meaning}"


def _affine(affine: Mapping[str, Any], numbers: Mapping[str, float]) -> _Findings:
    least, most = SCALES
    odd = [f"{scale:.2f}" for scale in affine.get("scale") or () if not least <= scale <= most]
    if odd:
        yield "look", f"the affine alignment scales by {', '.join(odd)}; are the voxel sizes right?"
    rotation = affine.get("rotation_degrees") or 0.0
    if rotation > TILTED:
        wrong = numbers.get("lncc_before", math.nan) < UNALIGNED_BEFORE
        how = f", and the brains are not aligned (similarity {numbers['lncc_before']:.2f})" if wrong else ""
        yield (
            "fail" if wrong else "look",
            f"the affine alignment rotates by {rotation:.0f} degrees{how}; check left and right",
        )


def _warnings(metrics: Mapping[str, Any]) -> _Findings:
    for role in ("fixed", "moving"):
        for warning in (metrics.get(role) or {}).get("warnings") or ():
            yield "look", f"{role} scan: {warning}"
    for warning in metrics.get("warnings") or ():
        yield "look", warning


def _summary(numbers: Mapping[str, float]) -> str:
    folded = numbers["foreground_folding_percent"]
    return (
        f"the similarity went from {numbers['lncc_before']:.2f} to {numbers['lncc']:.2f}, the foregrounds overlap by "
        f"{100 * numbers['foreground_dice']:.0f} %, and {folded:.2g} % of the foreground is folded"
    )


def _finite(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None
