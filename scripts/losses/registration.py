"""The loss of unsupervised registration, at every scale."""

from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from scripts.losses.folding import FoldingLoss
from scripts.losses.lncc import LNCCLoss
from scripts.losses.smoothness import SmoothnessLoss
from scripts.spatial import resize_field, warp


class RegistrationLoss(nn.Module):
    """Similarity of the fixed and the warped moving image plus smoothness of the field, summed over scales.

    The finest field counts at the image's own size with weight 1; the coarser ones at theirs, `1/2^l` of the image's,
    with weight `1/2^l` on images pooled to that size. Where the finest is predicted, its folding may be penalised.

    Args:
        window: width of the LNCC box in voxels, at every scale.
        smoothness_weight: of the squared derivatives of the field, against the similarity's range of 1.
        folding_weight: of `FoldingLoss`.
        similarity_weight: of the images' similarity.
    """

    def __init__(
        self,
        window: int = 9,
        smoothness_weight: float = 1.0,
        folding_weight: float = 0.0,
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
        """Score the pyramid of fields of one batch.

        Args:
            fields: `MSFBNet.pyramid`'s answer, coarse to fine, each `(B, 3, D/2^l, H/2^l, W/2^l)` in its own voxels.
            image: `(B, 2*K, D, H, W)`, K >= 1 fixed images of one anatomy, then their moving counterparts. They need
                not be what the network saw.

        Returns:
            A scalar, at least minus the sum of the weights.

        Raises:
            ValueError: for an odd number of channels.
        """
        if image.shape[1] % 2 != 0:
            raise ValueError(f"as many fixed as moving images are compared, not {image.shape[1]} in all")
        loss = self._at_scale(resize_field(fields[-1], list(image.shape[2:])), image)
        for field in fields[:-1]:
            factor = image.shape[2] // field.shape[2]
            loss = loss + self._at_scale(field, avg_pool3d(image, factor)) / factor
        if self.folding_weight > 0:
            loss = loss + self.folding_weight * self.folding(fields[-1])
        return loss

    def _at_scale(self, field: Tensor, image: Tensor) -> Tensor:
        fixed, moving = image.chunk(2, dim=1)
        # Every pair of channels is an item of the batch.
        similarity = self.similarity(warp(moving, field).flatten(0, 1)[:, None], fixed.flatten(0, 1)[:, None])
        return self.similarity_weight * similarity + self.smoothness_weight * self.smoothness(field)
