"""Checks of the volumes that metrics take."""

import torch
from torch import Tensor


def as_volume(tensor: Tensor) -> Tensor:
    """`(D, H, W)` of a volume that may have a channel axis of one.

    Raises:
        ValueError: for any other shape.
    """
    if tensor.dim() == 4 and tensor.shape[0] == 1:
        return tensor[0]
    if tensor.dim() != 3:
        raise ValueError(f"a volume is (D, H, W) or (1, D, H, W), got {tuple(tensor.shape)}")
    return tensor


def as_label_map(tensor: Tensor) -> Tensor:
    """`(D, H, W)` int64 of an integer label map.

    Raises:
        ValueError: for another shape, a float dtype (interpolated labels would be truncated silently), or
            negative values.
    """
    if tensor.is_floating_point():
        raise ValueError(f"a label map has an integer dtype, got {tensor.dtype}")
    label_map = as_volume(tensor).to(torch.int64).contiguous()
    if label_map.min() < 0:
        raise ValueError("a label map has no negative values")
    return label_map


def as_batch_of_one(field: Tensor) -> Tensor:
    """`(1, 3, D, H, W)` of one pair's field.

    Raises:
        ValueError: for a shape other than `(3, D, H, W)`.
    """
    if field.dim() != 4 or field.shape[0] != 3:
        raise ValueError(f"the field of one pair is (3, D, H, W), got {tuple(field.shape)}")
    return field[None]
