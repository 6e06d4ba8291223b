"""Scans as MONAI's transforms want them, for training and evaluation on datasets."""

import logging
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import SpaceKeys, ensure_tuple

from scripts.io import Scan, load_keypoints, read_label, read_scan, transform_points
from scripts.runtime import InputError

_LARGEST_LABEL = 2**24  # float32 and scripts.spatial.warp are exact below


def load_scan(path: str | Path) -> MetaTensor:
    """Read a 3-D image as `read_scan` does; what is odd about it is logged, once.

    Datasets are aligned on one grid, so an image without sform and qform is taken as RAS.

    Args:
        path: the file.

    Returns:
        `(1, X, Y, Z)` float32 in the file's own axis order; `affine` (RAS mm) and `filename_or_obj` in `meta`.

    Raises:
        InputError: see `read_scan`.
    """
    return _image_tensor(read_scan(path, assume_ras=True))


def load_label(path: str | Path) -> MetaTensor:
    """Read a label map as `read_label` does, and as `load_scan` treats images.

    Args:
        path: the file.

    Returns:
        `(1, X, Y, Z)` int32, with the same metadata as `load_scan`.

    Raises:
        InputError: see `read_label`; also for labels of 2^24 or more.
    """
    return _label_tensor(read_label(path, assume_ras=True))


class LoadScand(MapTransform):
    """Load the files of one or several scans with the checks of `load_scan` and `load_label`.

    Images become `(1, X, Y, Z)` float32, label maps int32 on the image's grid (resampled, and logged, where theirs is
    another), keypoints `(N, 3)` float64 in RAS mm: in world coordinates they stay true when later transforms
    reorient, pad or resample the image.

    Args:
        keys: keys of the images' paths.
        label_keys: keys of the label maps, one for each image key in the same order, or none; a label that the
            data does not hold is passed over, as labels are optional everywhere.
        keypoint_keys: keys of the keypoint files, likewise.
        allow_missing_keys: pass over an image key that the data does not hold, with its label and keypoints.

    Raises:
        InputError: for bad files (see `load_scan`, `load_label`, `load_keypoints`), and for a label map that does
            not overlap with its image. `Compose` wraps it: see `find_input_error`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = (),
        keypoint_keys: KeysCollection = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = _one_each(label_keys, self.keys, "label_keys")
        self.keypoint_keys = _one_each(keypoint_keys, self.keys, "keypoint_keys")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        loaded = dict(data)
        for key, label_key, keypoint_key in self.key_iterator(loaded, self.label_keys, self.keypoint_keys):
            scan = read_scan(data[key], assume_ras=True)
            loaded[key] = _image_tensor(scan)
            if label_key in data:
                loaded[label_key] = _label_tensor(read_label(data[label_key], scan, assume_ras=True))
            if keypoint_key in data:
                loaded[keypoint_key] = transform_points(load_keypoints(data[keypoint_key]), scan.affine)
        return loaded


def _one_each(keys: KeysCollection, image_keys: tuple[Hashable, ...], name: str) -> tuple[Hashable, ...]:
    found: tuple[Hashable, ...] = ensure_tuple(keys)
    if not found:
        return (None,) * len(image_keys)
    if len(found) != len(image_keys):
        raise ValueError(f"{name} wants one key for each of {image_keys}, got {found}")
    return found


def _image_tensor(scan: Scan) -> MetaTensor:
    for warning in scan.warnings:
        _log_once(f"{scan.path}: {warning}")
    # No more of the header than every format has: batches could not mix formats.
    meta = {
        "affine": torch.from_numpy(scan.affine.copy()),
        "original_affine": scan.affine.copy(),
        "spatial_shape": np.array(scan.array.shape, dtype=np.int64),
        "space": SpaceKeys.RAS,
        "filename_or_obj": scan.path,
    }
    return MetaTensor(torch.from_numpy(scan.array)[None], meta=meta)


def _label_tensor(label: Scan) -> MetaTensor:
    if int(label.array.max()) >= _LARGEST_LABEL:
        raise InputError(f"{label.path}: labels of 2^24 or more cannot be warped exactly; renumber them")
    return _image_tensor(label)


@cache
def _log_once(message: str) -> None:
    """A scan outside a dataset's memory is read many times."""
    logging.getLogger("scripts.datasets").warning(message)
