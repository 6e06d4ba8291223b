# SPDX-License-Identifier: Apache-2.0
"""Keypoints in Learn2Reg's layout."""

import numpy as np
import torch
from torch import Tensor

from scripts.io.files import FilePath, existing_file
from scripts.runtime import InputError, first_line


def load_keypoints(path: FilePath) -> Tensor:
    """Read points in Learn2Reg's layout: one row `x,y,z` per point, in voxels of the image's array, no header.

    Args:
        path: path of the CSV file.

    Returns:
        `(N, 3)` float64.

    Raises:
        InputError: if the file is missing or is not such a table of finite numbers.
    """
    file = existing_file(path)
    try:
        points = np.loadtxt(file, delimiter=",", ndmin=2)
    except ValueError as error:
        raise InputError(f"{path}: not a CSV file of rows x,y,z without header ({first_line(error)})") from error
    if points.shape[0] == 0 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError(f"{path}: want rows of 3 finite numbers x,y,z, found {points.shape[0]}x{points.shape[1]}")
    return torch.from_numpy(points)


def transform_points(points: Tensor, affine: Tensor | np.ndarray) -> Tensor:
    """Map points by a 4x4 matrix.

    Args:
        points: points, `(N, 3)`.
        affine: matrix, `(4, 4)`.

    Returns:
        `(N, 3)` float64.
    """
    matrix = torch.as_tensor(affine, dtype=torch.float64)
    return points.to(torch.float64) @ matrix[:3, :3].T + matrix[:3, 3]
