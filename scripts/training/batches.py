# SPDX-License-Identifier: Apache-2.0
"""Input of the network and target of the loss from a batch of pairs; for its keys see `PairDataset`."""

from collections.abc import Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch import Tensor

from scripts.runtime import InputError


def prepare_training_batch(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False
) -> tuple[Tensor, Tensor]:
    """Move the input of the network and the target of the loss to the device.

    Args:
        batch: collated items with `image`, `(B, 2, D, H, W)`, and from virtual scans also `target`, `(B, 4, D, H, W)`.
        device: device of the training.
        non_blocking: copy without waiting for the device.

    Returns:
        `image` and `target` as plain tensors; without a `target` the image is both, as training needs no labels.
    """
    # Plain tensors, because every operation on a MetaTensor copies its metadata.
    image, *target = (
        convert_to_tensor(batch[key], track_meta=False).to(device, non_blocking=non_blocking)
        for key in ("image", "target")
        if key in batch
    )
    return image, target[0] if target else image


class BatchWithLabels:
    """`prepare_training_batch` with label maps, and a random choice of the labels to compare in this step.

    Labels are drawn from torch's global generator on the CPU: a resumed training, which restores the generator's
    state, draws the same ones again, and the loss does not wait for a GPU.

    Args:
        labels: label values to draw from.
        labels_per_step: number of labels per step, from 1, drawn without repetition; all of them if there are fewer.

    Raises:
        InputError: if there are no labels.
    """

    def __init__(self, labels: Sequence[int], labels_per_step: int) -> None:
        if not labels:
            raise InputError("no labels to compare; name them under 'labels' in the dataset JSON, or in --dice_labels")
        self.labels = torch.tensor(labels)
        self.labels_per_step = labels_per_step

    def __call__(
        self, batch: dict[str, Any], device: torch.device, non_blocking: bool = False
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Input of the network, and target of `LabeledLoss`: target images, label maps `(B, 2, D, H, W)`, labels."""
        image, target = prepare_training_batch(batch, device, non_blocking)
        label_maps = torch.cat([batch["fixed_label"], batch["moving_label"]], dim=1)
        drawn = self.labels[torch.randperm(len(self.labels))[: self.labels_per_step]]
        return image, (
            target,
            convert_to_tensor(label_maps, track_meta=False).to(device, non_blocking=non_blocking),
            drawn.to(device, non_blocking=True),
        )
