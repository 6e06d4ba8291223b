"""Scans in and out of files: checks of what users give, dataset JSON -> scans and pairs, virtual subjects.

Bad input ends in a `scripts.world.InputError`, whose message is one clear line. A scan is a dict of paths `image`,
`label`, `keypoints`; loaded, these are `(1, X, Y, Z)` float32 and int32 and `(N, 3)` points.
"""

from scripts.data.anatomies import Anatomy, icbm_anatomy, phantom_anatomy
from scripts.data.checks import LoadScand, load_keypoints, load_label, load_scan
from scripts.data.datasets import find_dataset_json, label_names, training_scans, validation_pairs
from scripts.data.pairs import PairDataset, PairSampler
from scripts.data.phantoms import (
    VirtualPair,
    VirtualSubject,
    subject_points,
    virtual_pair,
    virtual_subject,
    write_dataset,
)

__all__ = [
    "Anatomy",
    "LoadScand",
    "PairDataset",
    "PairSampler",
    "VirtualPair",
    "VirtualSubject",
    "find_dataset_json",
    "icbm_anatomy",
    "label_names",
    "load_keypoints",
    "load_label",
    "load_scan",
    "phantom_anatomy",
    "subject_points",
    "training_scans",
    "validation_pairs",
    "virtual_pair",
    "virtual_subject",
    "write_dataset",
]
