"""The loss of unsupervised registration, at every scale."""

from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from scripts.losses.lncc import LNCCLoss
from scripts.losses.smoothness import SmoothnessLoss
from scripts.spatial import resize_field, warp


class RegistrationLoss(nn.Module):
    """Similarity of the fixed and the warped moving image plus smoothness of the field, summed over scales.

    The finest field counts at the image's own size with weight 1; the coarser ones at theirs, `1/2^l` of the image's,
    with weight `1/2^l` on images pooled to that size.

    Args:
        window: width of the LNCC box in voxels, at every scale.
        smoothness_weight: of the squared derivatives of the field, against the similarity's range of 1.
    """

    def __init__(self, window: int = 9, smoothness_weight: float = 1.0) -> None:
        super().__init__()
        self.similarity = LNCCLoss(window)
        self.smoothness = SmoothnessLoss()
        self.smoothness_weight = smoothness_weight

    def forward(self, fields: list[Tensor], image: Tensor) -> Tensor:
        """Score the pyramid of fields of one batch.

        Args:
            fields: `MSFBNet.pyramid`'s answer, coarse to fine, each `(B, 3, D/2^l, H/2^l, W/2^l)` in its own voxels.
            image: `(B, 2, D, H, W)`, channel 0 fixed, channel 1 moving.

        Returns:
            A scalar, at least minus the sum of the weights.
        """
        loss = self._at_scale(resize_field(fields[-1], list(image.shape[2:])), image)
        for field in fields[:-1]:
            factor = image.shape[2] // field.shape[2]
            loss = loss + self._at_scale(field, avg_pool3d(image, factor)) / factor
        return loss

    def _at_scale(self, field: Tensor, image: Tensor) -> Tensor:
        similarity = self.similarity(warp(image[:, 1:], field), image[:, :1])
        return similarity + self.smoothness_weight * self.smoothness(field)
