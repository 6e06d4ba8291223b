"""Scans in and out of files: checks of what users give, dataset JSON -> scans and pairs, virtual subjects.

Bad input ends in a `scripts.world.InputError`, whose message is one clear line. A scan is a dict of paths `image`,
`label`, `keypoints`; loaded, these are `(1, X, Y, Z)` float32 and int32 and `(N, 3)` points.
"""

from scripts.data.anatomies import Anatomy, icbm_anatomy, phantom_anatomy
from scripts.data.boxes import RandScaledBoxd
from scripts.data.datasets import find_dataset_json, label_names, scan_name, training_scans, validation_pairs
from scripts.data.files import file_sha256
from scripts.data.intensity import ScaleForegroundd, foreground, looks_skull_stripped, scale_intensity
from scripts.data.keypoints import load_keypoints
from scripts.data.labelmaps import LabelMapPairs, label_map_files
from scripts.data.labels import read_label, read_mask
from scripts.data.loading import LoadScand, load_label, load_scan
from scripts.data.pairs import PairDataset, PairSampler
from scripts.data.phantoms import (
    VirtualPair,
    VirtualSubject,
    subject_points,
    virtual_pair,
    virtual_subject,
    write_dataset,
)
from scripts.data.scans import Scan, header_facts, read_scan
from scripts.data.synthesis import RandSynthesizePaird

__all__ = [
    "Anatomy",
    "LabelMapPairs",
    "LoadScand",
    "PairDataset",
    "PairSampler",
    "RandScaledBoxd",
    "RandSynthesizePaird",
    "ScaleForegroundd",
    "Scan",
    "VirtualPair",
    "VirtualSubject",
    "file_sha256",
    "find_dataset_json",
    "foreground",
    "header_facts",
    "icbm_anatomy",
    "label_map_files",
    "label_names",
    "load_keypoints",
    "load_label",
    "load_scan",
    "looks_skull_stripped",
    "phantom_anatomy",
    "read_label",
    "read_mask",
    "read_scan",
    "scale_intensity",
    "scan_name",
    "subject_points",
    "training_scans",
    "validation_pairs",
    "virtual_pair",
    "virtual_subject",
    "write_dataset",
]
