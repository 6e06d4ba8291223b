"""From a batch of pairs to what the network sees and what the loss compares."""

from collections.abc import Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch import Tensor

from scripts.runtime import InputError


def prepare_training_batch(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor]:
    """Move `image`, what the network sees, and `target`, what the loss compares, to the device.

    Without `target` the pairs are both, as training needs no labels.
    """
    # Plain tensors: every operation on a MetaTensor copies its metadata.
    image, *target = (
        convert_to_tensor(batch[key], track_meta=False).to(device, non_blocking=non_blocking)
        for key in ("image", "target")
        if key in batch
    )
    return image, target[0] if target else image


class BatchWithLabels:
    """`prepare_training_batch` with label maps, some of whose labels count in a step, drawn at random.

    They are drawn here, by torch's global generator on the CPU: what restores it, as a resumed training does, draws
    the same again, and the loss waits for nothing.

    Args:
        labels: to draw from.
        labels_per_step: how many are drawn, none twice; all where there are fewer.

    Raises:
        InputError: without labels.
    """

    def __init__(self, labels: Sequence[int], labels_per_step: int) -> None:
        if not labels:
            raise InputError("no labels to compare; name them under 'labels' in the dataset JSON, or in --dice_labels")
        self.labels = torch.tensor(labels)
        self.labels_per_step = labels_per_step

    def __call__(
        self, batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Move to the device what the network sees and what `LabelledLoss` compares."""
        image, target = prepare_training_batch(batch, device, non_blocking)
        label_maps = torch.cat([batch["fixed_label"], batch["moving_label"]], dim=1)
        drawn = self.labels[torch.randperm(len(self.labels))[: self.labels_per_step]]
        return image, (
            target,
            convert_to_tensor(label_maps, track_meta=False).to(device, non_blocking=non_blocking),
            drawn.to(device, non_blocking=True),
        )
