# SPDX-License-Identifier: Apache-2.0
"""Registration loss with label maps."""

from torch import Tensor, nn

from scripts.losses.registration import RegistrationLoss
from scripts.spatial import resize_field, warp


class LabeledLoss(nn.Module):
    """`RegistrationLoss` of the images plus one minus the mean soft Dice of some labels.

    The labels are an auxiliary input of training as in VoxelMorph (Balakrishnan et al., TMI 2019): their masks are
    warped linearly by the finest field, and are not needed after training. Every label has the same weight; a label
    that neither map of a pair contains is left out. Tensor shapes do not depend on the values, so nothing synchronizes
    a GPU.

    Args:
        images: loss of the images.
        dice_weight: weight of the Dice term, which is in [0, 1].
    """

    def __init__(self, images: RegistrationLoss, dice_weight: float = 1.0) -> None:
        super().__init__()
        self.images = images
        self.dice_weight = dice_weight

    def forward(self, fields: list[Tensor], target: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Loss of the pyramid of fields of one batch.

        Args:
            fields: as in `RegistrationLoss`.
            target: the images, as in `RegistrationLoss`; the label maps, `(B, 2, D, H, W)` integers, fixed and moving;
                the compared labels, `(L,)` integers.

        Returns:
            A scalar.
        """
        image, label_maps, labels = target
        field = resize_field(fields[-1], list(label_maps.shape[2:]))
        values = labels.view(1, -1, 1, 1, 1)
        fixed, moving = ((label_map == values).to(field.dtype) for label_map in label_maps.chunk(2, dim=1))
        return self.images(fields, image) + self.dice_weight * _dice_loss(fixed, moving, warp(moving, field))


def _dice_loss(fixed: Tensor, moving: Tensor, warped: Tensor) -> Tensor:
    """One minus the mean soft Dice of masks `(B, L, D, H, W)`, over those present in the fixed or the moving image."""
    voxels = fixed.sum(dim=(2, 3, 4))
    present = (voxels + moving.sum(dim=(2, 3, 4)) > 0).to(fixed.dtype)
    # The denominator is at least 1, also for a mask that the field moves out of the image.
    dice = 2 * (fixed * warped).sum(dim=(2, 3, 4)) / (voxels + warped.sum(dim=(2, 3, 4))).clamp(min=1)
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)
