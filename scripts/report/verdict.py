"""Whether a registration can be trusted: rules on its figures, each limit with the reason why it is there.

They were set on skull-stripped T1 scans of 1 mm, registered by weights of this project. Pairs that are aligned well
start at a similarity of 0.2 to 0.4 and end at 0.7 to 0.9. Heads rotated by 90 degrees, upside down or 15 mm off start
below 0.15 and end below 0.6: the network bends one brain into the outline of the other, without folding anything, so
neither the gain nor the overlap gives them away.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

_NEEDED = {
    "lncc_before": "the similarity before",
    "lncc": "the similarity after",
    "foreground_dice": "the overlap of the foregrounds",
    "foreground_folding_percent": "the folding",
    "max_displacement_mm": "the largest displacement",
}

# Similarity (LNCC).
UNRELATED = 0.15  # noise against a brain ends at 0.01
UNALIGNED_START = 0.15  # below, the affine alignment has missed: see above
UNALIGNED_END = 0.6  # what the network reaches from there, at most
GOOD_MATCH = 0.8  # where there is little left to gain, or to lose
FALL = 0.01  # rounding and interpolation stay below
SMALL_GAIN = 0.05  # of a network that has done next to nothing; pairs of people gain 0.4 and more

# Overlap of the foregrounds (Dice). Brains of two people overlap by 0.95 after an affine alignment and by 0.99 in the
# end; a whole head overlaps with its own brain by 0.63 to 0.69.
NO_OVERLAP = 0.8
POOR_OVERLAP = 0.9

# Folding, in percent of the foreground. The diffeomorphic fields of this project have 0.0001, fields whose levels are
# added about 0.2 (EOIR on LUMIR); 1 % of a brain is more than 10 ml.
FOLDED = 0.1
TORN = 1.0

ROUGH = 0.15  # SDlogJ: pairs of people have 0.08 to 0.09, noise against a brain 0.14
FAR = 35.0  # mm: no part of a brain is that far from its place after an affine alignment
INCONSISTENT = 1.0  # mm there and back again, which is a voxel

# Heads of adults differ less in size, and heads in a scanner are less tilted: so the header or the affine may be wrong.
SCALES = 0.75, 1.3
TILTED = 45.0  # degrees


def judge(metrics: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Judge a registration by its figures.

    Args:
        metrics: content of metrics.json, as far as it is known. The similarities, `foreground_dice`,
            `foreground_folding_percent` and `max_displacement_mm` are needed; what else is missing is passed over.

    Returns:
        `pass`, `look` or `fail`, and the reasons in plain words, the gravest first; there is always one.
    """
    figures = {key: value for key in metrics if (value := _finite(metrics[key])) is not None}
    findings = [*_missing(figures), *_similarity(figures), *_overlap(figures), *_deformation(figures)]
    findings += [*_affine(metrics.get("affine") or {}), *_warnings(metrics)]
    for verdict in ("fail", "look"):
        if any(found == verdict for found, _ in findings):
            return verdict, [reason for _, reason in sorted(findings, key=lambda finding: finding[0] != "fail")]
    return "pass", [_summary(figures)]


# A rule yields findings: the verdict that follows from it, and the reason. A needed figure that is missing has a
# finding of its own; NaN in its place is neither above nor below any limit.
_Findings = Iterator[tuple[str, str]]


def _missing(figures: Mapping[str, float]) -> _Findings:
    for key, name in _NEEDED.items():
        if key not in figures:
            yield "fail", f"{name} could not be measured"


def _similarity(figures: Mapping[str, float]) -> _Findings:
    before, after = figures.get("lncc_before", math.nan), figures.get("lncc", math.nan)
    if after < UNRELATED:
        yield "fail", f"the images have nothing in common (similarity {after:.2f}); are both of them brains?"
    elif before < UNALIGNED_START and after < UNALIGNED_END:
        yield (
            "fail",
            f"the brains were not aligned when the deformable part began (similarity {before:.2f}, in the end "
            f"{after:.2f}); check the headers' orientation, or start from a transform of your own (--init)",
        )
    elif after < before - FALL and after < GOOD_MATCH:
        yield "fail", f"the similarity fell from {before:.2f} to {after:.2f}"
    elif after < before - FALL:
        yield "look", f"the scans were more alike before ({before:.2f}) than after ({after:.2f}): the affine may do"
    elif before < UNALIGNED_START:
        yield "look", f"the affine alignment was poor (similarity {before:.2f}, in the end {after:.2f})"
    elif before < GOOD_MATCH and after < before + SMALL_GAIN:
        yield "look", f"the deformable part has gained little (similarity {before:.2f} before, {after:.2f} after)"
    elif after < UNALIGNED_END:
        yield "look", f"the similarity is low in the end ({after:.2f}): noise, another kind of scan, or a poor match"


def _overlap(figures: Mapping[str, float]) -> _Findings:
    overlap = figures.get("foreground_dice", math.nan)
    if overlap < POOR_OVERLAP:
        yield (
            "fail" if overlap < NO_OVERLAP else "look",
            f"the foregrounds overlap by {100 * overlap:.0f} % only (Dice): is one scan with its skull, or cut off?",
        )


def _deformation(figures: Mapping[str, float]) -> _Findings:
    folds = (
        ("foreground_folding_percent", "of the foreground is folded"),
        ("foreground_ndv_percent", "of the foreground's volume is turned inside out"),
    )
    for key, what in folds:
        share = figures.get(key, 0.0)
        if share > FOLDED:
            yield "fail" if share > TORN else "look", f"{share:.2g} % {what}"
    limits = (
        ("sdlogj", ROUGH, "the deformation is rough (SDlogJ {:.2f})"),
        ("max_displacement_mm", FAR, "the deformable part moves some place by {:.0f} mm"),
        ("inverse_consistency_mean_mm", INCONSISTENT, "forward and inverse field differ by {:.1f} mm on average"),
    )
    for key, limit, reason in limits:
        if figures.get(key, 0.0) > limit:
            yield "look", reason.format(figures[key])


def _affine(affine: Mapping[str, Any]) -> _Findings:
    least, most = SCALES
    odd = [f"{scale:.2f}" for scale in affine.get("scale") or () if not least <= scale <= most]
    if odd:
        yield "look", f"the affine alignment scales by {', '.join(odd)}; are the voxel sizes right?"
    rotation = affine.get("rotation_degrees") or 0.0
    if rotation > TILTED:
        yield "look", f"the affine alignment rotates by {rotation:.0f} degrees; check left and right"


def _warnings(metrics: Mapping[str, Any]) -> _Findings:
    for role in ("fixed", "moving"):
        for warning in (metrics.get(role) or {}).get("warnings") or ():
            yield "look", f"{role} scan: {warning}"


def _summary(figures: Mapping[str, float]) -> str:
    folded = figures["foreground_folding_percent"]
    return (
        f"the similarity went from {figures['lncc_before']:.2f} to {figures['lncc']:.2f}, the foregrounds overlap by "
        f"{100 * figures['foreground_dice']:.0f} %, and {folded:.2g} % of the foreground is folded"
    )


def _finite(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None
