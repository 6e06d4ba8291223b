# SPDX-License-Identifier: Apache-2.0
"""Signatures of failures: patterns in the figures of a registration that tell what went wrong.

The three patterns are those that authors of the field name. Their limits are measured by `python -m scripts study
signatures`; docs/results.md says how often each is right and wrong.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

ROUGH_NDV_PERCENT = 0.01  # of the foreground; right pairs of people have 0.005 at most
LOW_DICE = 0.5  # of 134 small labels; right pairs of people have 0.59 to 0.66, and more with larger labels
SHIFTED_MM = 1.5  # right pairs with 32 landmarks each have 0.5 to 1.1
FEWEST_LANDMARKS = 10  # fewer may have a common shift by chance


class Signature(NamedTuple):
    """A pattern that was found.

    Attributes:
        name: `rough`, `unmatched` or `shifted`.
        found: its figures, in words.
        meaning: what it usually means.
        advice: what to try.
    """

    name: str
    found: str
    meaning: str
    advice: str


def signatures(metrics: Mapping[str, Any]) -> Iterator[Signature]:
    """The signatures in the figures of a registration.

    Args:
        metrics: content of metrics.json; signatures whose figures it lacks are not looked for.
    """
    names = ("foreground_ndv_percent", "dice", "tre", "tre_bias")
    ndv, dice, tre, shift = (math.nan if metrics.get(name) is None else metrics[name] for name in names)
    if ndv > ROUGH_NDV_PERCENT:
        yield Signature(
            "rough",
            f"{ndv:.2g} % of the foreground's volume is folded (NDV)",
            "the scans lie further apart than the network reaches, its parts contradict each other, or it was trained "
            "with too little regularization",
            "look at the affine alignment, and start from a better one (--init); --refine 30 unfolds; weights of your "
            "own: a larger smoothness_weight or folding_weight",
        )
    elif dice < LOW_DICE:
        yield Signature(
            "unmatched",
            f"the labels agree little (Dice {dice:.2f}), and hardly anything is folded",
            "the network finds nothing to match: a wrong affine alignment, or a kind of scan that it does not know; or "
            "labels that are not alike in two people, such as lesions",
            "look at the scans, the affine alignment, and each label map on its scan",
        )
    count = (metrics.get("landmarks") or {}).get("count", 0)
    if dice >= LOW_DICE and count >= FEWEST_LANDMARKS and shift > SHIFTED_MM:
        yield Signature(
            "shifted",
            f"the labels agree, but the landmarks are off by {shift:.1f} mm in one direction (TRE {tre:.1f} mm)",
            "landmarks or labels are not in the space of their scans, or the scans agree where they should not",
            "look at landmarks and labels on their own scans: origin, orientation, half a voxel, left and right",
        )
