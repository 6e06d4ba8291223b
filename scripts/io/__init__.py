# SPDX-License-Identifier: Apache-2.0
"""What files say: images, labels, masks, points, transforms and weights, read with one policy and written whole."""

from scripts.io.configs import read_configs
from scripts.io.csv_files import cells_by_column, read_csv
from scripts.io.field_formats import read_transform, write_transform
from scripts.io.files import FilePath, check_is_text, existing_file, file_sha256, outline_sha256, read_json
from scripts.io.headers import ASSUMED_RAS, NO_ORIENTATION, find_space, read_grid
from scripts.io.images import IN_MEMORY, ImageSource, image_files, open_image, open_volumes, source_name
from scripts.io.itk import save_affine, save_composite
from scripts.io.keypoints import load_keypoints, transform_points
from scripts.io.label_like import holds_labels
from scripts.io.labels import read_label, read_mask, read_scan_and_mask
from scripts.io.names import scan_name
from scripts.io.nifti import nifti_image, save_image, save_itk_field
from scripts.io.points import Points, as_positions, read_points, write_points
from scripts.io.scans import Scan, header_facts, read_scan
from scripts.io.series import Series, open_series, save_series, series_image
from scripts.io.tables import print_summary, write_table
from scripts.io.template import MNI152, image_path, template_file
from scripts.io.voxels import volume_index
from scripts.io.weights import load_weights, read_checkpoint, write_safetensors
from scripts.io.writing import check_folder, check_output, whole_file, whole_folder, write_complete, write_json

__all__ = [
    "ASSUMED_RAS",
    "IN_MEMORY",
    "MNI152",
    "NO_ORIENTATION",
    "FilePath",
    "ImageSource",
    "Points",
    "Scan",
    "Series",
    "as_positions",
    "cells_by_column",
    "check_folder",
    "check_is_text",
    "check_output",
    "existing_file",
    "file_sha256",
    "find_space",
    "header_facts",
    "holds_labels",
    "image_files",
    "image_path",
    "load_keypoints",
    "load_weights",
    "nifti_image",
    "open_image",
    "open_series",
    "open_volumes",
    "outline_sha256",
    "print_summary",
    "read_checkpoint",
    "read_configs",
    "read_csv",
    "read_grid",
    "read_json",
    "read_label",
    "read_mask",
    "read_points",
    "read_scan",
    "read_scan_and_mask",
    "read_transform",
    "save_affine",
    "save_composite",
    "save_image",
    "save_itk_field",
    "save_series",
    "scan_name",
    "series_image",
    "source_name",
    "template_file",
    "transform_points",
    "volume_index",
    "whole_file",
    "whole_folder",
    "write_complete",
    "write_json",
    "write_points",
    "write_safetensors",
    "write_table",
    "write_transform",
]
