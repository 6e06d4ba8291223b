# SPDX-License-Identifier: Apache-2.0
"""Quality control: the report and the verdict of a registration, the curves of a training, the charts of studies.

Arrays are `(X, Y, Z)` on RAS axes. Displacement fields are `(3, X, Y, Z)` in voxels: moved(x) = moving(x + field(x)).
"""

from scripts.report.bands import Curve, band_chart, error_picture
from scripts.report.commands import COPIES, WARPS, Input, Reuse, reuse_commands
from scripts.report.curve import loss_curve
from scripts.report.dots import dot_chart
from scripts.report.learning import learning_curves
from scripts.report.overview import Listed, overview
from scripts.report.page import registration_report
from scripts.report.signatures import FEWEST_LANDMARKS, LOW_DICE, ROUGH_NDV_PERCENT, SHIFTED_MM, signatures
from scripts.report.tradeoff import tradeoff_chart
from scripts.report.verdict import DIFFERENT_CONTRASTS, GOOD_MATCH, NO_OVERLAP, judge

__all__ = [
    "COPIES",
    "DIFFERENT_CONTRASTS",
    "FEWEST_LANDMARKS",
    "GOOD_MATCH",
    "LOW_DICE",
    "NO_OVERLAP",
    "ROUGH_NDV_PERCENT",
    "SHIFTED_MM",
    "WARPS",
    "Curve",
    "Input",
    "Listed",
    "Reuse",
    "band_chart",
    "dot_chart",
    "error_picture",
    "judge",
    "learning_curves",
    "loss_curve",
    "overview",
    "registration_report",
    "reuse_commands",
    "signatures",
    "tradeoff_chart",
]
