"""Measures of a registration: overlap and distance of labels, distance of landmarks, regularity of the field.

Each is a plain function on one pair that computes what Learn2Reg's and LUMIR's public evaluation computes;
`PairMetric` makes any of them an ignite metric for MONAI's evaluators, `write_table` a file of one row per pair.
"""

from scripts.metrics.labels import dice_per_label, hd95_per_label
from scripts.metrics.landmarks import label_tre, tre
from scripts.metrics.pair_metric import PairMetric
from scripts.metrics.regularity import non_diffeomorphic_volume, percent_folding, sdlogj
from scripts.metrics.table import finite_or_none, summarise, write_complete, write_table

__all__ = [
    "PairMetric",
    "dice_per_label",
    "finite_or_none",
    "hd95_per_label",
    "label_tre",
    "non_diffeomorphic_volume",
    "percent_folding",
    "sdlogj",
    "summarise",
    "tre",
    "write_complete",
    "write_table",
]
