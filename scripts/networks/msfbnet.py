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
    """Predict the displacement field that pulls the moving image into the fixed one, coarse to fine.

    Every image is encoded on its own by the same weights. From the coarsest scale on, an MSFB compares the fixed
    features with the moving ones warped by the field so far, and its residual, of at most one voxel of that scale, is
    composed with that field. At last the moving image itself is warped, encoded anew and compared once more, for a
    correction at the image's own size. An untrained network is the identity.

    Args:
        channels: feature channels per scale, finest first; as many scales as entries.
        field_scale: scale of the finest features that are compared (0: full size, 1: half, ...), and of their field,
            which is upsampled to the image's size.
        auxiliary_decoder: whether MSFBs get high-level features too.
        fusion: how an MSFB joins features: `attention`, `concat` or `add`.
        attention: which gates `fusion="attention"` has: `both`, `global`, `local` or `none`.
        comparison: of both images' features, as another input of the MSFBs: `none`, `difference` or `correlation`.
        iterations: how often each scale between the coarsest and the finest one corrects its own result.
        diffeomorphic: take residuals as stationary velocity fields and integrate them; otherwise as displacements.
        symmetric: warp both images half-way towards each other, and take half the difference of what the MSFB says of
            them in either order (after SITReg, Honkamaa & Marttinen, MELBA 2024): the field of the swapped pair is
            then the inverse, but for the last correction. Needs `diffeomorphic` for that. The parameters are the same
            either way.
        detail: correct the field once more at the image's own size, by a block on the grid of `field_scale` whose
            channels hold the voxels between (sub-pixel convolution, Shi et al., CVPR 2016): feature maps at full size
            are what costs time and memory.

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
            raise ValueError(f"iterations are a number from 1, not {iterations}")
        self.field_scale = field_scale
        self.factor = 2**field_scale
        self.diffeomorphic = diffeomorphic
        self.symmetric = symmetric
        self.multiple = 2 ** (len(channels) - 1)

        self.encoder = Encoder(channels)
        used = channels[field_scale:]  # scales finer than the finest field are encoded, never decoded
        self.auxiliary_decoder = AuxiliaryDecoder(used) if auxiliary_decoder else None
        # Coarse to fine. The coarsest block sees low-level features only: high-level ones start from them.
        self.blocks = nn.ModuleList(
            MSFB(c, auxiliary_decoder and i > 0, fusion, attention, comparison) for i, c in enumerate(used[::-1])
        )
        # The finest scale takes nearly all of the time, and the coarsest sees little: once is enough.
        self.iterations = [iterations if 0 < i < len(used) - 1 else 1 for i in range(len(used))]
        self.heads = nn.ModuleList(_field_head(c) for c in used[::-1])
        self.detail_block = MSFB(used[0], False, fusion, attention, comparison) if detail else None
        self.detail_head = _field_head(used[0], 3 * self.factor**3) if detail else None

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
        """Register a pair and return the field so far at every scale, for supervision at every scale.

        Args:
            image: as `forward` takes it.

        Returns:
            `(B, 3, D/2^l, H/2^l, W/2^l)` for the scales `l` from the coarsest to `field_scale`, voxels of that scale;
            with `detail` one of the image's own size follows.
        """
        if image.dim() != 5 or image.shape[1] != 2:
            raise ValueError(f"image is (B, 2, D, H, W), fixed and moving, not {image.shape}")
        for size in image.shape[2:]:
            if size % self.multiple != 0:
                raise ValueError(f"image sizes are multiples of {self.multiple}, not {image.shape[2:]}")

        fields, fixed = self._coarse_to_fine(image)
        if self.detail_block is not None:
            fields.append(self._detailed(image, fixed, fields[-1]))
        return fields

    def _coarse_to_fine(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """The fields down to `field_scale`, and the fixed image's features there; all other features end with this."""
        # Stacked along the batch, both images pass the shared weights at once.
        low = self.encoder(torch.cat([image[:, :1], image[:, 1:]]))[self.field_scale :]
        high = self.auxiliary_decoder(low) if self.auxiliary_decoder is not None else low

        field = image.new_zeros([image.shape[0], 3, 1, 1, 1])
        # If symmetric, there is a grid half-way: from it to the fixed and to the moving image (stacked), and from the
        # fixed image to it.
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
                # Under autocast heads answer in half precision; fields stay in the image's.
                if self.symmetric:
                    fixed, moving = warp(features, half_way).chunk(2)
                    to_fixed, to_moving = half_way.chunk(2)
                    fused, swapped = block.both_ways(fixed, moving, to_moving - to_fixed)  # type: ignore[operator]
                    there = bounded_spline(head(fused).to(image.dtype))
                    back = bounded_spline(head(swapped).to(image.dtype))
                    # Half of the mean answer for either image, in opposite directions.
                    forward, backward = self._flow(torch.cat([there - back, back - there]) / 4).chunk(2)
                    half_way = compose(half_way, torch.cat([backward, forward]))
                    to_half_way = compose(forward, to_half_way)
                else:
                    fixed, moving = features.chunk(2)
                    residual = bounded_spline(head(block(fixed, warp(moving, field), field)).to(image.dtype))
                    field = compose(field, self._flow(residual))
            if self.symmetric:
                field = compose(half_way.chunk(2)[1], to_half_way)
            fields.append(field)
        return fields, low[0].chunk(2)[0]

    def _detailed(self, image: Tensor, fixed: Tensor, field: Tensor) -> Tensor:
        """The field at the image's own size, corrected there by what the features of the warped moving image say."""
        large = resize_field(field, list(image.shape[2:]))
        moving = self.encoder(warp(image[:, 1:], large), self.field_scale)[-1]
        fused = self.detail_block(fixed, moving, field)  # type: ignore[misc]
        answer = self.detail_head(fused).to(image.dtype)  # type: ignore[misc]
        residual = 0.85 * bounded_spline(pixelshuffle(answer, 3, self.factor))  # less than 1, as folding goes
        return compose(large, integrate(residual, steps=1) if self.diffeomorphic else residual)

    def _flow(self, residual: Tensor) -> Tensor:
        return integrate(residual, steps=5) if self.diffeomorphic else residual


def _field_head(channels: int, answers: int = 3) -> nn.Module:
    """Convolution to a field, next to zero at first."""
    convolution = nn.Conv3d(channels, answers, kernel_size=3, padding=1)
    for parameter in convolution.parameters():
        nn.init.normal_(parameter, std=1e-5)
    return convolution
