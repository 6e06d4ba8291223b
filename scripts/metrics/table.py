# SPDX-License-Identifier: Apache-2.0
"""All metrics by name: title, unit and number format in reports, tables and curves, and which direction is better.

In files, `NAME_before` is the same metric after the affine alignment alone.
"""

import math
from dataclasses import dataclass
from typing import Literal

BEFORE = "_before"
NOTHING = "–"


@dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    Attributes:
        title: name in reports and tables.
        unit: unit; empty for a metric without one.
        form: format specification of the numbers, such as `.4f`.
        better: which values are better; None for a metric without such a direction.
        meaning: short explanation.
    """

    title: str
    unit: str
    form: str
    better: Literal["higher", "lower"] | None
    meaning: str = ""

    @property
    def heading(self) -> str:
        """Title and unit, such as `HD95 (mm)`."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def text(self, value: float | None) -> str:
        """Text of a value without its unit; a dash for None."""
        if value is None:
            return NOTHING
        if not math.isfinite(value):
            return "not a number"
        return "< 0.0001" if 0 < abs(value) < 1e-4 else f"{value:{self.form}}"


METRICS = {
    "dice": Metric("Dice", "", ".4f", "higher", "mean overlap of the labels, 1 is best"),
    "hd95": Metric("HD95", "mm", ".2f", "lower", "95 % Hausdorff distance of the labels' surfaces, 0 is best"),
    "tre": Metric("TRE", "mm", ".2f", "lower", "mean distance of the landmarks, 0 is best"),
    "tre_bias": Metric("TRE, common shift", "mm", ".2f", "lower", "length of the landmarks' mean error, 0 is best"),
    "lncc": Metric("LNCC", "", ".3f", "higher", "similarity: local cross-correlation of the images, 1 is best"),
    "mutual_information": Metric(
        "Mutual information", "", ".3f", "higher", "similarity whatever the contrasts, normalized, 1 is best"
    ),
    # Before only: what the contrasts of the two images are is asked after the affine alignment.
    "local_correlation": Metric("Local correlation", "", ".2f", "higher", "with its sign; below 0 for T1 and T2"),
    "quality": Metric("Quality", "", ".2f", "higher", "estimated share of borders that are at most 1 mm off"),
    "foreground_dice": Metric("Foreground Dice", "", ".3f", "higher", "overlap of the brains or heads, 1 is best"),
    # Where the moving image is above 0, as LUMIR counts.
    "ndv_percent": Metric("NDV", "%", ".2g", "lower", "volume that is folded"),
    "folding_percent": Metric("Folding", "%", ".2g", "lower", "voxels whose Jacobian determinant is 0 or less"),
    # In the fixed image's foreground.
    "foreground_ndv_percent": Metric("NDV in the foreground", "%", ".2g", "lower", "volume that is folded"),
    "foreground_folding_percent": Metric(
        "Folding in the foreground", "%", ".2g", "lower", "voxels whose Jacobian determinant is 0 or less"
    ),
    "sdlogj": Metric("SDlogJ", "", ".3f", "lower", "spread of the log-Jacobian"),
    "mean_displacement_mm": Metric("Mean displacement", "mm", ".2f", None, "of the deformable part"),
    "max_displacement_mm": Metric("Largest displacement", "mm", ".2f", None, "of the deformable part"),
    "inverse_consistency_mean_mm": Metric(
        "Inverse consistency, mean", "mm", ".3f", "lower", "distance of a point from itself after both warps"
    ),
    "inverse_consistency_max_mm": Metric(
        "Inverse consistency, worst", "mm", ".3f", "lower", "distance of a point from itself after both warps"
    ),
    "inverse_consistency_mm": Metric(
        "both orders", "mm", ".2f", "lower", "distance of a point from itself after the fields of both orders"
    ),
    "displacement_mm": Metric("Displacement", "mm", ".2f", "lower", "mean inside the brain, of a rescan"),
    "rejected": Metric("taken back", "", ".2f", None, "the deformation made the images less alike: 1, else 0"),
    "loss": Metric("training loss", "", ".4f", "lower"),
    "seconds": Metric("seconds", "", ".1f", "lower"),
    "cpu_seconds": Metric("CPU seconds", "", ".1f", "lower"),
    "peak_memory_mb": Metric("peak memory", "MB", ".0f", "lower"),
}
