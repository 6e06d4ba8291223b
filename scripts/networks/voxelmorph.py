# SPDX-License-Identifier: Apache-2.0
"""MONAI's VoxelMorph with the interface of `MSFBNet`, as a baseline."""

import warnings

import torch
from monai.networks.nets import VoxelMorph
from torch import Tensor, nn


class VoxelMorphBaseline(nn.Module):
    """MONAI's VoxelMorph with its default channels (Balakrishnan et al., TMI 2019); integrates at the image's size.

    `configs/ablations/voxelmorph.yaml` trains and evaluates it as `MSFBNet`.
    """

    multiple = 8  # its U-Net halves the image three times

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*native grid_sample")
            self.network = VoxelMorph(half_res=False)

    def forward(self, image: Tensor) -> Tensor:
        """Register a pair.

        Args:
            image: `(B, 2, D, H, W)`, channel 0 fixed, channel 1 moving; sizes are multiples of 8.

        Returns:
            The displacement field, `(B, 3, D, H, W)`, voxels of the fixed grid: `moved(x) = moving(x + field(x))`.

        Raises:
            ValueError: for any other shape.
        """
        if image.dim() != 5 or image.shape[1] != 2 or any(size % self.multiple for size in image.shape[2:]):
            raise ValueError(f"image is (B, 2, D, H, W), sizes multiples of {self.multiple}, not {tuple(image.shape)}")
        # MONAI's forward would also warp the image; its backbone takes the moving image first. Under autocast the
        # velocity is in half precision, in which positions would be off by a voxel.
        velocity = self.network.backbone(torch.cat([image[:, 1:], image[:, :1]], dim=1)).to(image.dtype)
        return self.network.dvf2ddf(velocity)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """The field as a pyramid of one scale, for the loss; see `MSFBNet.pyramid`."""
        return [self(image)]
