# SPDX-License-Identifier: Apache-2.0
"""Quality control: the report and the verdict of a registration, and the curves of a training.

Arrays are `(X, Y, Z)` on RAS axes. Displacement fields are `(3, X, Y, Z)` in voxels: moved(x) = moving(x + field(x)).
"""

from scripts.report.commands import COPIES, WARPS, Input, Reuse, reuse_commands
from scripts.report.curve import loss_curve
from scripts.report.learning import learning_curves
from scripts.report.overview import Listed, overview
from scripts.report.page import registration_report
from scripts.report.tradeoff import tradeoff_chart
from scripts.report.verdict import DIFFERENT_CONTRASTS, GOOD_MATCH, NO_OVERLAP, judge

__all__ = [
    "COPIES",
    "DIFFERENT_CONTRASTS",
    "GOOD_MATCH",
    "NO_OVERLAP",
    "WARPS",
    "Input",
    "Listed",
    "Reuse",
    "judge",
    "learning_curves",
    "loss_curve",
    "overview",
    "registration_report",
    "reuse_commands",
    "tradeoff_chart",
]
