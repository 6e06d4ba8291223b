# SPDX-License-Identifier: Apache-2.0
"""Scans of different contrasts, such as T1 and T2, which the network was not trained for: warn, and undo what it does.

The network and the refinement make LNCC rise on any two images. Where the contrasts differ it rises by wrong matches,
and labels agree less than after the affine map alone.
"""

import sys
from collections.abc import Mapping, Sequence

import torch

from scripts.metrics import local_correlation
from scripts.registration.measuring import label_overlap, landmark_error, regularity, similarity
from scripts.registration.pair import PreparedPair, Registration, advanced
from scripts.registration.steps import fuse
from scripts.report import DIFFERENT_CONTRASTS, GOOD_MATCH
from scripts.runtime import timed

# What mutual information rises by, as a share of what LNCC rises by. Pairs of one contrast, whose labels all agree
# better afterwards, have 0.16 and more. Of two contrasts, those whose labels agree less have at most 0.13; three FLAIR
# that gained up to 0.05 of Dice have 0.10 to 0.15 and are given up.
LEAST_SHARE, LEAST_SHARE_OF_DIFFERENT = 0.1, 0.2
NOTHING = 0.005  # of mutual information: a deformation that changes it by less is kept


def compare_contrasts(pair: PreparedPair) -> PreparedPair:
    """Measure whether bright tissue of one image is bright in the other; add a warning if it is not."""
    timings = dict(pair.timings)
    with timed(timings, "contrasts"):
        shown = pair.foregrounds if pair.unknown is None else pair.foregrounds & ~pair.unknown
        correlation = local_correlation(torch.from_numpy(pair.image), torch.from_numpy(shown))
    warnings = pair.warnings
    if correlation < DIFFERENT_CONTRASTS:  # false for NaN
        warnings += (
            f"the two scans seem to be of different contrasts (local correlation {correlation:.2f} after the affine "
            "alignment), and the network registers scans of one contrast only",
        )
    return advanced(PreparedPair, pair, local_correlation=correlation, warnings=warnings, timings=timings)


def print_pair_warnings(pair: PreparedPair) -> PreparedPair:
    """Print what is odd about the two images together to stderr, one line each."""
    for warning in pair.warnings:
        print(f"warning: {pair.fixed.scan.path} and {pair.moving.scan.path}: {warning}", file=sys.stderr)
    return pair


def reject_worse(registration: Registration, labels: Sequence[int] | None = None) -> Registration:
    """Take back a deformation that makes the images less alike, so that the affine map alone is left.

    Args:
        registration: affine map and deformation.
        labels: labels to score, as for `measure`.

    Returns:
        The same registration with what is known of its similarity, or one without deformation, whose `rejected` says
        what the deformation had reached.
    """
    timings = dict(registration.timings)
    with timed(timings, "check"):
        found = similarity(registration)
        if not _is_worse(found, registration.local_correlation):
            return advanced(Registration, registration, similarity=found, timings=timings)
        rejected = found | regularity(registration)
        rejected |= label_overlap(registration, labels) | landmark_error(registration)
        still = torch.zeros_like(registration.field)
    return fuse(advanced(Registration, registration, field=still, rejected=rejected, timings=timings))


def _is_worse(found: Mapping[str, float], correlation: float | None) -> bool:
    """Whether mutual information rose by less than a share of what LNCC rose by."""
    gain = found["lncc"] - found["lncc_before"]
    information = found["mutual_information"] - found["mutual_information_before"]
    different = correlation is not None and correlation < DIFFERENT_CONTRASTS
    least = LEAST_SHARE_OF_DIFFERENT if different else LEAST_SHARE
    return found["lncc"] < GOOD_MATCH and information < least * gain - NOTHING
