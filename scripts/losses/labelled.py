"""The loss of training that knows label maps."""

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn

from scripts.losses.registration import RegistrationLoss
from scripts.spatial import resize_field, warp


class LabelledLoss(nn.Module):
    """`RegistrationLoss` of the images, plus one minus the soft Dice of the label maps.

    The labels are what VoxelMorph calls auxiliary (Balakrishnan et al., TMI 2019): they are warped by the finest field
    as masks, linearly, and are not needed after training. Labels that a pair lacks count as agreeing.

    Args:
        images: of the images; its `similarity_weight` of 0 leaves the labels alone with smoothness and folding.
        labels: the values that count, each as much as any other.
        dice_weight: of the label maps, against the images' range of 1.
    """

    def __init__(self, images: RegistrationLoss, labels: Sequence[int], dice_weight: float = 1.0) -> None:
        super().__init__()
        self.images = images
        self.labels = list(labels)
        self.dice_weight = dice_weight
        self.dice = DiceLoss()

    def forward(self, fields: list[Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
        """Score the pyramid of fields of one batch.

        Args:
            fields: as `RegistrationLoss` takes them.
            target: the images, as `RegistrationLoss` takes them, and the label maps, `(B, 2, D, H, W)` integers, fixed
                and moving.

        Returns:
            A scalar.
        """
        image, label_maps = target
        field = resize_field(fields[-1], list(label_maps.shape[2:]))
        values = torch.tensor(self.labels, device=label_maps.device).view(1, -1, 1, 1, 1)
        fixed, moving = ((label_map == values).to(field.dtype) for label_map in label_maps.chunk(2, dim=1))
        return self.images(fields, image) + self.dice_weight * self.dice(warp(moving, field), fixed)
