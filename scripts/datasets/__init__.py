# SPDX-License-Identifier: Apache-2.0
"""Learn2Reg dataset JSON to scans and pairs, with intensities scaled to [0, 1].

The files of a scan are `learn2reg.ScanFiles`; an item that training and evaluation get is described at `PairDataset`.
"""

from scripts.datasets.background import find_background
from scripts.datasets.boxes import RandScaledBoxd, check_box
from scripts.datasets.cut_off import Cut, find_cuts
from scripts.datasets.intensity import (
    ScaleForegroundd,
    foreground,
    lies_in_background,
    looks_skull_stripped,
    scale_intensity,
)
from scripts.datasets.learn2reg import label_names, training_scans, validation_pairs
from scripts.datasets.loading import LoadScand, load_label
from scripts.datasets.pairs import PairDataset
from scripts.datasets.sampling import PairSampler

__all__ = [
    "Cut",
    "LoadScand",
    "PairDataset",
    "PairSampler",
    "RandScaledBoxd",
    "ScaleForegroundd",
    "check_box",
    "find_background",
    "find_cuts",
    "foreground",
    "label_names",
    "lies_in_background",
    "load_label",
    "looks_skull_stripped",
    "scale_intensity",
    "training_scans",
    "validation_pairs",
]
