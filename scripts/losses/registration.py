# SPDX-License-Identifier: Apache-2.0
"""Loss of unsupervised registration at every scale."""

from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from scripts.losses.folding import FoldingLoss
from scripts.losses.lncc import LNCCLoss
from scripts.losses.smoothness import SmoothnessLoss
from scripts.spatial import resize_field, warp


class RegistrationLoss(nn.Module):
    """Similarity of the fixed and the warped moving image plus smoothness of the field, summed over scales.

    The finest field is resized to the image's size and has weight 1; the field at scale `l`, `1/2^l` of the image's
    size, has weight `1/2^l` and is compared on images pooled to its size. The folding of the finest field is penalized
    at the size at which it is predicted.

    Args:
        window: width of the LNCC box in voxels, at every scale; odd, from 1.
        smoothness_weight: weight of `SmoothnessLoss`, from 0.
        folding_weight: weight of `FoldingLoss`, from 0.
        similarity_weight: weight of `LNCCLoss`, from 0.
    """

    def __init__(
        self,
        window: int = 9,
        smoothness_weight: float = 0.3,
        folding_weight: float = 100.0,
        similarity_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.similarity = LNCCLoss(window)
        self.similarity_weight = similarity_weight
        self.smoothness = SmoothnessLoss()
        self.smoothness_weight = smoothness_weight
        self.folding = FoldingLoss()
        self.folding_weight = folding_weight

    def forward(self, fields: list[Tensor], image: Tensor) -> Tensor:
        """Loss of the pyramid of fields of one batch.

        Args:
            fields: fields of `MSFBNet.pyramid`, coarse to fine, each `(B, 3, D/2^l, H/2^l, W/2^l)` in its own voxels.
            image: `(B, 2*K, D, H, W)`, K >= 1 fixed images of one anatomy, then their moving counterparts; may differ
                from the network's input.

        Returns:
            A scalar, at least minus the sum of the weights.

        Raises:
            ValueError: for an odd number of channels.
        """
        if image.shape[1] % 2 != 0:
            raise ValueError(f"image has as many fixed as moving channels, not {image.shape[1]} in all")
        loss = self._at_scale(resize_field(fields[-1], list(image.shape[2:])), image)
        for field in fields[:-1]:
            factor = image.shape[2] // field.shape[2]
            loss = loss + self._at_scale(field, avg_pool3d(image, factor)) / factor
        if self.folding_weight > 0:
            loss = loss + self.folding_weight * self.folding(fields[-1])
        return loss

    def _at_scale(self, field: Tensor, image: Tensor) -> Tensor:
        fixed, moving = image.chunk(2, dim=1)
        # Each pair of channels becomes an item of the batch.
        similarity = self.similarity(warp(moving, field).flatten(0, 1)[:, None], fixed.flatten(0, 1)[:, None])
        return self.similarity_weight * similarity + self.smoothness_weight * self.smoothness(field)
