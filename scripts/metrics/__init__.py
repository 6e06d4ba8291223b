"""Measures of a registration: overlap and distance of labels, distance of landmarks, regularity of the field.

Each is a plain function on one pair that computes what Learn2Reg's and LUMIR's public evaluation computes;
`PairMetric` makes any of them an ignite metric for MONAI's evaluators.
"""

from scripts.metrics.labels import dice_per_label, hd95_per_label
from scripts.metrics.landmarks import label_tre, tre
from scripts.metrics.pair_metric import PairMetric
from scripts.metrics.regularity import non_diffeomorphic_volume, percent_folding, sdlogj
from scripts.metrics.similarity import lncc
from scripts.metrics.summary import Row, summarize
from scripts.metrics.table import BEFORE, METRICS, NOTHING, Metric

__all__ = [
    "BEFORE",
    "METRICS",
    "NOTHING",
    "Metric",
    "PairMetric",
    "Row",
    "dice_per_label",
    "hd95_per_label",
    "label_tre",
    "lncc",
    "non_diffeomorphic_volume",
    "percent_folding",
    "sdlogj",
    "summarize",
    "tre",
]
