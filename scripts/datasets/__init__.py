"""Learn2Reg JSON to scans and pairs, and their intensities on one scale.

A scan is a dict of paths `image`, `label`, `keypoints`; loaded, these are `(1, X, Y, Z)` float32 and int32 and
`(N, 3)` points.
"""

from scripts.datasets.boxes import RandScaledBoxd
from scripts.datasets.intensity import ScaleForegroundd, foreground, looks_skull_stripped, scale_intensity
from scripts.datasets.learn2reg import label_names, training_scans, validation_pairs
from scripts.datasets.loading import LoadScand, load_label
from scripts.datasets.pairs import PairDataset
from scripts.datasets.sampling import PairSampler

__all__ = [
    "LoadScand",
    "PairDataset",
    "PairSampler",
    "RandScaledBoxd",
    "ScaleForegroundd",
    "foreground",
    "label_names",
    "load_label",
    "looks_skull_stripped",
    "scale_intensity",
    "training_scans",
    "validation_pairs",
]
