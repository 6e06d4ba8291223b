# SPDX-License-Identifier: Apache-2.0
"""The registration network (Zhou & Hu, arXiv 2408.05717)."""

from collections.abc import Sequence

import torch
from monai.networks.utils import pixelshuffle
from torch import Tensor, nn

from scripts.networks.auxiliary_decoder import AuxiliaryDecoder
from scripts.networks.encoder import Encoder
from scripts.networks.msfb import MSFB
from scripts.spatial import bounded_spline, compose, integrate, resize_field, warp


class MSFBNet(nn.Module):
    """Predict the displacement field that warps the moving image to the fixed one, coarse to fine.

    Both images are encoded separately with shared weights. At each scale, from the coarsest to that of `field_scale`,
    an MSFB compares the fixed features with the moving features warped by the current field, and its residual, of at
    most one voxel of that scale, is composed with the field. Finally the moving image itself is warped and encoded, and
    compared once more for a correction at the image's size. An untrained network predicts nearly the identity.

    Args:
        channels: number of feature channels per scale, finest first.
        field_scale: scale of the finest compared features and of their field (0 is the image's size, 1 is half of it,
            ...); that field is upsampled to the image's size.
        auxiliary_decoder: whether MSFBs also fuse high-level features.
        fusion: fusion of the features in an MSFB: `attention`, `concat` or `add`.
        attention: gates of `fusion="attention"`: `both`, `global` (per channel) or `local` (per voxel).
        comparison: comparison of both images' features, an additional input of the MSFBs: `none`, `difference` or
            `correlation`.
        iterations: number of residuals at each scale except the coarsest and the finest, which have one; from 1.
        diffeomorphic: whether residuals are stationary velocity fields, which are integrated, or displacements.
        symmetric: whether both images are warped half-way towards each other, and the residual is half the difference
            of the predictions for both orders of the pair (after SITReg, Honkamaa & Marttinen, MELBA 2024). With
            `diffeomorphic`, the field of the swapped pair is then the inverse, except for the correction of `detail`.
            The parameters are the same with and without.
        detail: whether the field is corrected once more at the image's size, by a block on the grid of `field_scale`
            that predicts the residuals of all voxels between as channels (sub-pixel convolution, Shi et al., CVPR
            2016), as feature maps at the image's size would take most of the time and memory.

    Raises:
        ValueError: for an unknown `fusion`, `attention` or `comparison`, a `field_scale` without a scale, or
            `iterations` below 1.
    """

    def __init__(
        self,
        channels: Sequence[int] = (8, 16, 32, 64, 96),
        field_scale: int = 1,
        auxiliary_decoder: bool = True,
        fusion: str = "attention",
        attention: str = "both",
        comparison: str = "correlation",
        iterations: int = 2,
        diffeomorphic: bool = True,
        symmetric: bool = True,
        detail: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= field_scale < len(channels):
            raise ValueError(f"field_scale is between 0 and {len(channels) - 1}, not {field_scale}")
        if iterations < 1:
            raise ValueError(f"iterations is a number from 1, not {iterations}")
        self.field_scale = field_scale
        self.factor = 2**field_scale
        self.diffeomorphic = diffeomorphic
        self.symmetric = symmetric
        self.multiple = 2 ** (len(channels) - 1)

        self.encoder = Encoder(channels)
        used = channels[field_scale:]  # finer scales are encoded, but not decoded
        self.auxiliary_decoder = AuxiliaryDecoder(used) if auxiliary_decoder else None
        # Coarse to fine. The coarsest block fuses low-level features only: high-level ones are decoded from them.
        self.blocks = nn.ModuleList(
            MSFB(c, auxiliary_decoder and i > 0, fusion, attention, comparison) for i, c in enumerate(used[::-1])
        )
        # The finest scale takes nearly all of the time, and the coarsest has little detail: one iteration each.
        self.iterations = [iterations if 0 < i < len(used) - 1 else 1 for i in range(len(used))]
        self.heads = nn.ModuleList(_field_head(c) for c in used[::-1])
        self.detail_block = MSFB(used[0], False, fusion, attention, comparison) if detail else None
        self.detail_head = _field_head(used[0], 3 * self.factor**3) if detail else None

    def extra_repr(self) -> str:
        """The options that no parameter and no other module tells, for whoever shows the network."""
        names = ("field_scale", "iterations", "diffeomorphic", "symmetric")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    def forward(self, image: Tensor) -> Tensor:
        """Register a pair.

        Args:
            image: `(B, 2, D, H, W)` in [0, 1], channel 0 fixed, channel 1 moving; sizes are multiples of
                `2^(scales - 1)`.

        Returns:
            The displacement field, `(B, 3, D, H, W)`, voxels of the fixed grid, channel `c` along array axis `c`:
            `moved(x) = moving(x + field(x))`.

        Raises:
            ValueError: for any other shape.
        """
        field = self.pyramid(image)[-1]
        if field.shape[2:] != image.shape[2:]:
            field = resize_field(field, list(image.shape[2:]))
        return field

    @torch.jit.export
    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Register a pair and return the field at every scale, for the loss at every scale.

        Args:
            image: as in `forward`.

        Returns:
            `(B, 3, D/2^l, H/2^l, W/2^l)` for the scales `l` from the coarsest to `field_scale`, voxels of that scale;
            with `detail`, followed by one of the image's size.

        Raises:
            ValueError: for any other shape.
        """
        if image.dim() != 5 or image.shape[1] != 2:
            raise ValueError(f"image is (B, 2, D, H, W), fixed and moving, not {image.shape}")
        for size in image.shape[2:]:
            if size % self.multiple != 0:
                raise ValueError(f"image sizes are multiples of {self.multiple}, not {image.shape[2:]}")

        fields, fixed = self._coarse_to_fine(image)
        if self.detail_block is not None:
            fields.append(self._add_detail(image, fixed, fields[-1]))
        return fields

    def _coarse_to_fine(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """The fields from the coarsest scale to `field_scale`, and the fixed image's features at that scale."""
        # Both images are one batch of the encoder.
        low = self.encoder(torch.cat([image[:, :1], image[:, 1:]]))[self.field_scale :]
        high = self.auxiliary_decoder(low) if self.auxiliary_decoder is not None else low

        field = image.new_zeros([image.shape[0], 3, 1, 1, 1])
        # If symmetric, the grid half-way between the images has two fields, which warp the fixed and the moving image
        # to it (stacked along the batch); a third one maps from the fixed grid to it.
        half_way, to_half_way = torch.cat([field, field]), field
        fields: list[Tensor] = []
        for i, (block, head) in enumerate(zip(self.blocks, self.heads)):  # noqa: B905 (TorchScript)
            features = low[len(low) - 1 - i]
            if i > 0 and self.auxiliary_decoder is not None:
                features = torch.cat([features, high[len(low) - 1 - i]], dim=1)
            grid = list(features.shape[2:])
            if self.symmetric:
                half_way, to_half_way = resize_field(half_way, grid), resize_field(to_half_way, grid)
            else:
                field = resize_field(field, grid)
            for _ in range(self.iterations[i]):
                # Under autocast heads predict in half precision; fields keep the image's precision.
                if self.symmetric:
                    fixed, moving = warp(features, half_way).chunk(2)
                    to_fixed, to_moving = half_way.chunk(2)
                    fused, swapped = block.both_orders(fixed, moving, to_moving - to_fixed)  # type: ignore[operator]
                    first = bounded_spline(head(fused).to(image.dtype))
                    second = bounded_spline(head(swapped).to(image.dtype))
                    # Each image moves by half of the residual, half the difference of both predictions.
                    forward, backward = self._integrate(torch.cat([first - second, second - first]) / 4).chunk(2)
                    half_way = compose(half_way, torch.cat([backward, forward]))
                    to_half_way = compose(forward, to_half_way)
                else:
                    fixed, moving = features.chunk(2)
                    residual = bounded_spline(head(block(fixed, warp(moving, field), field)).to(image.dtype))
                    field = compose(field, self._integrate(residual))
            if self.symmetric:
                field = compose(half_way.chunk(2)[1], to_half_way)
            fields.append(field)
        return fields, low[0].chunk(2)[0]

    def _add_detail(self, image: Tensor, fixed: Tensor, field: Tensor) -> Tensor:
        """The field at the image's size, corrected by a comparison of the fixed and the warped moving image."""
        large = resize_field(field, list(image.shape[2:]))
        moving = self.encoder(warp(image[:, 1:], large), self.field_scale)[-1]
        fused = self.detail_block(fixed, moving, field)  # type: ignore[misc]
        prediction = self.detail_head(fused).to(image.dtype)  # type: ignore[misc]
        residual = 0.85 * bounded_spline(pixelshuffle(prediction, 3, self.factor))  # less than 1, to fold less
        return compose(large, integrate(residual, steps=1) if self.diffeomorphic else residual)

    def _integrate(self, residual: Tensor) -> Tensor:
        return integrate(residual, steps=5) if self.diffeomorphic else residual


def _field_head(channels: int, outputs: int = 3) -> nn.Module:
    """Convolution that predicts a field, initialized to predict nearly zero."""
    convolution = nn.Conv3d(channels, outputs, kernel_size=3, padding=1)
    for parameter in convolution.parameters():
        nn.init.normal_(parameter, std=1e-5)
    return convolution
