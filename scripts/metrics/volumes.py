# SPDX-License-Identifier: Apache-2.0
"""Checks of the arguments of metrics."""

import torch
from torch import Tensor


def as_volume(tensor: Tensor) -> Tensor:
    """A volume as `(D, H, W)`, without its channel axis.

    Args:
        tensor: volume, `(D, H, W)` or `(1, D, H, W)`.

    Raises:
        ValueError: if the shape differs from these.
    """
    if tensor.dim() == 4 and tensor.shape[0] == 1:
        return tensor[0]
    if tensor.dim() != 3:
        raise ValueError(f"a volume is (D, H, W) or (1, D, H, W), got {tuple(tensor.shape)}")
    return tensor


def as_label_map(tensor: Tensor) -> Tensor:
    """A label map as `(D, H, W)` int64.

    Args:
        tensor: label map, `(D, H, W)` or `(1, D, H, W)`, integers from 0.

    Raises:
        ValueError: if the shape differs from these, the dtype is a float (interpolated labels would be truncated), or
            a value is negative.
    """
    if tensor.is_floating_point():
        raise ValueError(f"a label map has an integer dtype, got {tensor.dtype}")
    label_map = as_volume(tensor).to(torch.int64).contiguous()
    if label_map.min() < 0:
        raise ValueError("a label map has no negative values")
    return label_map


def as_batch_of_one(field: Tensor) -> Tensor:
    """The displacement field of one pair as a batch, `(1, 3, D, H, W)`.

    Args:
        field: displacement field, `(3, D, H, W)`.

    Raises:
        ValueError: if the shape differs from this.
    """
    if field.dim() != 4 or field.shape[0] != 3:
        raise ValueError(f"the field of one pair is (3, D, H, W), got {tuple(field.shape)}")
    return field[None]
