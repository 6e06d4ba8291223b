# SPDX-License-Identifier: Apache-2.0
"""Scans, label maps and keypoints as tensors for MONAI's transforms."""

import logging
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import SpaceKeys, ensure_tuple

from scripts.geometry import Grid
from scripts.io import (
    NO_ORIENTATION,
    Scan,
    find_space,
    load_keypoints,
    open_volumes,
    read_label,
    read_scan,
    transform_points,
    volume_index,
)
from scripts.runtime import InputError

_LABEL_LIMIT = 2**24  # labels are warped as float32, which holds whole numbers exactly up to here


def load_label(path: str | Path) -> MetaTensor:
    """Read a label map of a dataset with the checks of `scripts.io.read_label`.

    Datasets are aligned on one grid, so a file without orientation (no sform, no qform) is taken as RAS, without a
    word. Every other warning about the file is logged once.

    Args:
        path: label map file.

    Returns:
        `(1, X, Y, Z)` int32 in the file's own axis order; `meta` has `affine` (voxel to RAS mm) and `filename_or_obj`.

    Raises:
        InputError: if `read_label` refuses the file; for labels from 2^24.
    """
    return _label_tensor(read_label(path, assume_ras=True))


class LoadScand(MapTransform):
    """Load the files of one or several scans with the checks of `scripts.io`; see `load_label`.

    Images become `(1, X, Y, Z)` float32. Label maps become `(1, X, Y, Z)` int32 on the grid of their image; if their
    own grid differs, they are resampled, and a warning is logged. Keypoints become `(N, 3)` float64 in RAS mm, which
    stay correct when later transforms reorient, pad or resample the image.

    Args:
        keys: keys of the image files.
        label_keys: keys of the label map files, one for each image key in the same order, or none; label maps are
            optional in the data.
        keypoint_keys: keys of the keypoint files, likewise.

    Raises:
        InputError: for files that `read_scan`, `read_label` or `load_keypoints` refuse, and for a label map that does
            not overlap with its image. `Compose` wraps it in a RuntimeError: see `find_input_error`.
        ValueError: if the numbers of keys differ.
    """

    def __init__(
        self, keys: KeysCollection, label_keys: KeysCollection = (), keypoint_keys: KeysCollection = ()
    ) -> None:
        super().__init__(keys)
        self.label_keys = _one_each(label_keys, self.keys, "label_keys")
        self.keypoint_keys = _one_each(keypoint_keys, self.keys, "keypoint_keys")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load the files of one item; missing image keys raise a KeyError."""
        loaded = dict(data)
        for key, label_key, keypoint_key in zip(self.keys, self.label_keys, self.keypoint_keys, strict=True):
            scan = read_scan(data[key], assume_ras=True)
            loaded[key] = _image_tensor(scan)
            if label_key in data:
                loaded[label_key] = _label_tensor(read_label(data[label_key], scan, assume_ras=True))
            if keypoint_key in data:
                loaded[keypoint_key] = transform_points(load_keypoints(data[keypoint_key]), scan.affine)
        return loaded

    def grid(self, data: Mapping[Any, Any]) -> Grid:
        """The grid of the first image along the RAS axes, after a check of the headers of all images and label maps.

        Voxels are not read, so that many scans are checked in little time before any is used.

        Raises:
            InputError: for files whose headers `read_scan` or `read_label` refuse.
        """
        grids = [_header_grid(data[key]) for key in (*self.keys, *self.label_keys) if key in data]
        return grids[0]

    def points(self, data: Mapping[Any, Any]) -> int | None:
        """Number of keypoints of the first image; None if they are not loaded.

        Raises:
            InputError: for a file that `load_keypoints` refuses.
        """
        key = self.keypoint_keys[0]
        return len(load_keypoints(data[key])) if key in data else None


def _header_grid(path: str | Path) -> Grid:
    image = open_volumes(path)
    volume_index(image, path, None)
    grid = find_space(image, path, assume_ras=True).grid
    orientation = nib.io_orientation(grid.affine)
    shape = np.empty(3, dtype=int)
    shape[orientation[:, 0].astype(int)] = grid.shape
    return Grid(tuple(shape.tolist()), grid.affine @ nib.orientations.inv_ornt_aff(orientation, grid.shape))


def _one_each(keys: KeysCollection, image_keys: tuple[Hashable, ...], name: str) -> tuple[Hashable, ...]:
    found: tuple[Hashable, ...] = ensure_tuple(keys)
    if not found:
        return (None,) * len(image_keys)
    if len(found) != len(image_keys):
        raise ValueError(f"{name} wants one key for each of {image_keys}, got {found}")
    return found


def _image_tensor(scan: Scan) -> MetaTensor:
    for warning in scan.warnings:
        if NO_ORIENTATION not in warning:  # what is meant is known here
            _log_once(f"{scan.path}: {warning}")
    # Only what all file formats provide: a batch may mix formats, and its items must have the same metadata.
    meta = {
        "affine": torch.from_numpy(scan.affine.copy()),
        "original_affine": scan.affine.copy(),
        "spatial_shape": np.array(scan.array.shape, dtype=np.int64),
        "space": SpaceKeys.RAS,
        "filename_or_obj": scan.path,
    }
    return MetaTensor(torch.from_numpy(scan.array)[None], meta=meta)


def _label_tensor(label: Scan) -> MetaTensor:
    if int(label.array.max()) >= _LABEL_LIMIT:
        raise InputError(f"{label.path}: labels of 2^24 or more cannot be warped exactly; renumber them")
    return _image_tensor(label)


@cache
def _log_once(message: str) -> None:
    """Log a warning once, although scans outside the cache are read many times."""
    logging.getLogger("scripts.datasets").warning(message)
