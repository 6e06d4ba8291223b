# SPDX-License-Identifier: Apache-2.0
"""Metrics of a registration: overlap and distance of labels, distance of landmarks, regularity of the field.

Each is a function of one pair that gives the value of Learn2Reg's or LUMIR's public evaluation. `PairMetric` makes an
ignite metric for MONAI's evaluators from any of them.
"""

from scripts.metrics.labels import border_distances, border_voxels, dice_per_label, hd95_per_label
from scripts.metrics.landmarks import label_tre, tre
from scripts.metrics.pair_metric import PairMetric
from scripts.metrics.regularity import non_diffeomorphic_volume, percent_folding, sdlogj
from scripts.metrics.similarity import lncc, local_agreement, local_correlation, mutual_information, without_rim
from scripts.metrics.summary import Row, summarize
from scripts.metrics.table import BEFORE, METRICS, NOTHING, Metric

__all__ = [
    "BEFORE",
    "METRICS",
    "NOTHING",
    "Metric",
    "PairMetric",
    "Row",
    "border_distances",
    "border_voxels",
    "dice_per_label",
    "hd95_per_label",
    "label_tre",
    "lncc",
    "local_agreement",
    "local_correlation",
    "mutual_information",
    "non_diffeomorphic_volume",
    "percent_folding",
    "sdlogj",
    "summarize",
    "tre",
    "without_rim",
]
