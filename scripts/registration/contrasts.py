# SPDX-License-Identifier: Apache-2.0
"""Scans of different contrasts, as T1 and T2: the network sees both in one; what makes them less alike is undone.

The network and the refinement make LNCC rise on any two images. Where the contrasts that they see differ it rises by
wrong matches, and labels agree less than after the affine map alone.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.metrics import lncc, local_correlation
from scripts.registration.intensities import in_either_contrast
from scripts.registration.measuring import dice, label_overlap, landmark_error, regularity, similarity
from scripts.registration.pair import PreparedPair, Registration, advanced
from scripts.registration.steps import fuse
from scripts.report import DIFFERENT_CONTRASTS, GOOD_MATCH, NO_OVERLAP
from scripts.runtime import timed

# What mutual information rises by, as a share of what LNCC rises by. Pairs whose labels all agree better afterwards
# have 0.16 and more, those whose labels agree less at most 0.13.
LEAST_SHARE = 0.15
NOTHING = 0.005  # of mutual information: a deformation that changes it by less is kept


def compare_contrasts(pair: PreparedPair) -> PreparedPair:
    """Measure whether what is bright in one image is so in the other; if not, give each the contrast of the other."""
    timings = dict(pair.timings)
    with timed(timings, "contrasts"):
        shown = torch.from_numpy(pair.shown)
        correlation = local_correlation(torch.from_numpy(pair.image), shown)
        # Images that the affine map has not brought onto each other show nothing of each other's contrast.
        differ = correlation < DIFFERENT_CONTRASTS and dice(*shown) > NO_OVERLAP  # false for NaN
        in_one = _most_alike_first(in_either_contrast(pair.image, pair.shown)) if differ else None
    return advanced(PreparedPair, pair, local_correlation=correlation, in_one_contrast=in_one, timings=timings)


def _most_alike_first(
    versions: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    still = torch.zeros(3, *versions[0].shape[1:])
    first, second = versions
    alike = [lncc(torch.from_numpy(image), still).item() for image in versions]
    return (first, second) if alike[0] >= alike[1] else (second, first)


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
        if not _is_worse(found):
            return advanced(Registration, registration, similarity=found, timings=timings)
        rejected = found | regularity(registration)
        rejected |= label_overlap(registration, labels) | landmark_error(registration)
        still = torch.zeros_like(registration.field)
    return fuse(advanced(Registration, registration, field=still, rejected=rejected, timings=timings))


def _is_worse(found: Mapping[str, float]) -> bool:
    """Whether mutual information rose by less than a share of what LNCC rose by."""
    gain = found["lncc"] - found["lncc_before"]
    information = found["mutual_information"] - found["mutual_information_before"]
    return found["lncc"] < GOOD_MATCH and information < LEAST_SHARE * gain - NOTHING
