# SPDX-License-Identifier: Apache-2.0
"""MONAI's registration networks with the interface of `MSFBNet`, as baselines.

`configs/ablations/voxelmorph.yaml`, `localnet.yaml` and `regunet.yaml` train and evaluate them as `MSFBNet`.
"""

import warnings
from typing import Any

import torch
from monai.networks.nets import LocalNet, RegUNet, VoxelMorph
from torch import Tensor, nn


class Baseline(nn.Module):
    """A network that predicts one field.

    Args:
        network: network that takes moving and fixed image, `(B, 2, D, H, W)`, and returns `(B, 3, D, H, W)`.
    """

    multiple = 8  # the networks halve the image three times
    network: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

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
        # As in MONAI's examples the moving image comes first.
        return self.field(torch.cat([image[:, 1:], image[:, :1]], dim=1)).to(image.dtype)

    def field(self, images: Tensor) -> Tensor:
        """The field of moving and fixed image."""
        return self.network(images)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """The field as a pyramid of one scale, for the loss; see `MSFBNet.pyramid`."""
        return [self(image)]


class VoxelMorphBaseline(Baseline):
    """VoxelMorph with its default channels (Balakrishnan et al., TMI 2019); integrates at the image's size."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*native grid_sample")
            super().__init__(VoxelMorph(half_res=False))

    def field(self, images: Tensor) -> Tensor:
        """The integrated velocity of moving and fixed image; MONAI's forward would also warp the image."""
        # Under autocast the velocity is in half precision, in which positions would be off by a voxel.
        return self.network.dvf2ddf(self.network.backbone(images).to(images.dtype))


class LocalNetBaseline(Baseline):
    """LocalNet (Hu et al., MedIA 2018) as in MONAI's tutorial of paired lungs; the field is its output, not a flow."""

    def __init__(self) -> None:
        super().__init__(LocalNet(3, 2, 32, (3,), out_kernel_initializer="zeros"))


class RegUNetBaseline(Baseline):
    """The registration U-Net of DeepReg (Fu et al., JOSS 2020), 16 channels at full size; not a flow either."""

    def __init__(self) -> None:
        super().__init__(RegUNet(3, 2, 16, 3, out_kernel_initializer="zeros"))
