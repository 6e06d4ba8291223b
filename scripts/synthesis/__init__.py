# SPDX-License-Identifier: Apache-2.0
"""Virtual scans: from label maps for training, from geometric shapes or the ICBM152 template for demo and tests."""

from scripts.synthesis.anatomies import phantom_anatomy
from scripts.synthesis.deformed_scans import RandDeformPaird
from scripts.synthesis.label_maps import LabelMapPairs, label_map_files
from scripts.synthesis.virtual_scans import RandSynthesizePaird
from scripts.synthesis.virtual_subjects import virtual_pair, write_dataset

__all__ = [
    "LabelMapPairs",
    "RandDeformPaird",
    "RandSynthesizePaird",
    "label_map_files",
    "phantom_anatomy",
    "virtual_pair",
    "write_dataset",
]
