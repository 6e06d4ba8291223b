"""The loss of training that knows label maps."""

from torch import Tensor, nn

from scripts.losses.registration import RegistrationLoss
from scripts.spatial import resize_field, warp


class LabelledLoss(nn.Module):
    """`RegistrationLoss` of the images, plus one minus the soft Dice of some labels.

    The labels are what VoxelMorph calls auxiliary (Balakrishnan et al., TMI 2019): they are warped by the finest field
    as masks, linearly, and are not needed after training. Each counts as much as any other, but for those that a pair
    has in neither of its maps: they do not count. Shapes depend on shapes alone, and nothing waits for a GPU.

    Args:
        images: of the images; its `similarity_weight` of 0 leaves the labels alone with smoothness and folding.
        dice_weight: of the label maps, against the images' range of 1.
    """

    def __init__(self, images: RegistrationLoss, dice_weight: float = 1.0) -> None:
        super().__init__()
        self.images = images
        self.dice_weight = dice_weight

    def forward(self, fields: list[Tensor], target: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Score the pyramid of fields of one batch.

        Args:
            fields: as `RegistrationLoss` takes them.
            target: the images, as `RegistrationLoss` takes them; the label maps, `(B, 2, D, H, W)` integers, fixed
                and moving; the labels that count, `(L,)` integers.

        Returns:
            A scalar.
        """
        image, label_maps, labels = target
        field = resize_field(fields[-1], list(label_maps.shape[2:]))
        values = labels.view(1, -1, 1, 1, 1)
        fixed, moving = ((label_map == values).to(field.dtype) for label_map in label_maps.chunk(2, dim=1))
        return self.images(fields, image) + self.dice_weight * _dice_loss(fixed, moving, warp(moving, field))


def _dice_loss(fixed: Tensor, moving: Tensor, warped: Tensor) -> Tensor:
    """One minus the mean soft Dice of masks `(B, L, D, H, W)`, over those that are in the fixed or the moving image."""
    voxels = fixed.sum(dim=(2, 3, 4))
    there = (voxels + moving.sum(dim=(2, 3, 4)) > 0).to(fixed.dtype)
    # At least one voxel, so that a mask that the field has moved out of the image divides nothing by 0.
    dice = 2 * (fixed * warped).sum(dim=(2, 3, 4)) / (voxels + warped.sum(dim=(2, 3, 4))).clamp(min=1)
    return ((1 - dice) * there).sum() / there.sum().clamp(min=1)
