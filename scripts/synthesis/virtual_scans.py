"""Pairs of virtual scans from label maps: anatomy from the map, everything else drawn at random.

After SynthSeg (Billot et al., MedIA 2023) and SynthMorph (Hoffmann et al., TMI 2022). All of it runs on the device
that it is told, with torch's operations: MONAI's random transforms for bias fields, noise or low resolution draw in
NumPy, on the CPU.
"""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from monai.transforms import MapTransform, Randomizable
from torch import Tensor
from torch.nn.functional import avg_pool3d, grid_sample, interpolate

from scripts.spatial import integrate, resize_field
from scripts.synthesis.contrast import CSF_AROUND, EXTRACEREBRAL, LARGEST_LABEL, random_contrast, t1_contrast
from scripts.synthesis.corruption import corrupt, smooth_noise, uniform

_NEAR = 8  # voxels of the map: skull stripping keeps what has enough brain within a box of this width
# Shares of pairs: both T1; both of one random contrast; the rest of two random contrasts.
_T1_PAIRS, _ONE_CONTRAST = 0.8, 0.1


class RandSynthesizePaird(Randomizable, MapTransform):
    """Make a pair of scans from two label maps of one grid, each deformed on its own.

    Args:
        keys: of the fixed and the moving label map, `(1, X, Y, Z)` integers as in `scripts.synthesis.contrast`.
        spacing: voxels of the map per voxel of the scans, along each axis: 1, 2 (half-size volumes) or 4.
        size: of the scans, `(D, H, W)` in their voxels, a random box of the map; None takes all of it, padded to
            multiples of 16.
        head_probability: share of pairs with the whole head; the others are skull-stripped.
        deformation: mean length of each scan's random displacement over the map, in its voxels, at most (the length
            itself is drawn).
        device: where to do it, and where the results are.

    The result holds, beside what came in:
        `image`: `(2, D, H, W)` float32 in [0, 1], fixed and moving.
        `target`: `(4, D, H, W)` float32, two clean scans of the fixed anatomy, then of the moving one, each in the
            same two contrasts (one T1, one random), for losses that should not see what was done to the images.
        the keys: the deformed label maps, `(1, D, H, W)` int32.
    """

    def __init__(
        self,
        keys: Sequence[str] = ("fixed_label", "moving_label"),
        spacing: int = 1,
        size: Sequence[int] | None = None,
        head_probability: float = 0.15,
        deformation: float = 3.0,
        device: torch.device | str = "cpu",
    ) -> None:
        MapTransform.__init__(self, keys)
        self.spacing = spacing
        self.size = size
        self.head_probability = head_probability
        self.deformation = deformation
        self.device = torch.device(device)
        # Volumes are drawn on the device, single numbers on the CPU, so that nothing waits for a GPU.
        self.generator = torch.Generator(self.device)
        self.numbers = self.generator if self.device.type == "cpu" else torch.Generator()
        self._draw = partial(uniform, self.numbers)
        self._brain = torch.zeros(LARGEST_LABEL + 1, device=self.device)
        self._brain[1:EXTRACEREBRAL] = 1
        self._brain[CSF_AROUND] = 0

    def randomize(self, data: Any = None) -> None:
        """Seed the generators from the transform's own."""
        seed = int(self.R.randint(2**31))
        for generator in (self.generator, self.numbers):
            generator.manual_seed(seed)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Make one pair."""
        self.randomize()
        maps = [torch.as_tensor(data[key], device=self.device)[0] for key in self.keys]
        whole = [-(-n // (16 * self.spacing)) * 16 for n in maps[0].shape]
        size = list(self.size) if self.size is not None else whole
        corner = [int(self._draw(0, n - m + 1)) for n, m in zip(whole, size, strict=True)]
        flipped = self._draw(0, 1) < 0.5
        head = self._draw(0, 1) < self.head_probability
        contrasts, clean = self._contrasts()

        result = dict(data)
        images, targets = [], []
        for key, labels, contrast in zip(self.keys, maps, contrasts, strict=True):
            positions = self._positions(size, corner, labels.shape, flipped)
            if self.device.type == "cpu":  # to ask a GPU for the part would take longer than to render all
                labels, positions = _cut(labels, positions)
            scans = _render(labels, torch.stack([contrast, *clean, self._brain]), self.spacing)
            scans = _at(scans, positions, labels.shape)
            if not head:
                nearby = self._smooth(scans[3:])
                scans[:1] *= nearby > self._draw(0.1, 0.5)
                scans[1:3] *= nearby > 0.3
            images.append(corrupt(scans[:1], self.generator, self.numbers))
            targets.append(scans[1:3])
            result[key] = _at(labels[None].float(), positions, labels.shape, mode="nearest").int()
        return result | {"image": torch.cat(images), "target": torch.cat(targets)}

    def _contrasts(self) -> tuple[list[Tensor], list[Tensor]]:
        """Of the fixed and the moving scan; of the two clean ones."""
        kind = self._draw(0, 1)
        if kind < _T1_PAIRS:
            contrasts = [t1_contrast(self.numbers), t1_contrast(self.numbers)]
        elif kind < _T1_PAIRS + _ONE_CONTRAST:
            contrasts = [random_contrast(self.numbers)] * 2
        else:
            contrasts = [random_contrast(self.numbers), random_contrast(self.numbers)]
        clean = [t1_contrast(self.numbers), random_contrast(self.numbers)]
        drawn = torch.stack([*contrasts, *clean]).to(self.device, non_blocking=True).unbind()
        return list(drawn[:2]), list(drawn[2:])

    def _positions(self, size: Sequence[int], corner: Sequence[int], source: Sequence[int], flipped: bool) -> Tensor:
        """Where each voxel of a scan lies in its map: `(3, D, H, W)`, voxels of the map."""
        # In voxels from the center of the map.
        axes = [
            (torch.arange(n, device=self.device) + start + 0.5) * self.spacing - m / 2
            for n, start, m in zip(size, corner, source, strict=True)
        ]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        moved = (grid + self._displacement(size)).flatten(1)
        if flipped:
            moved[0] = -moved[0]
        moved = (self._affine() @ moved).view(3, *size)
        return torch.stack([along + (m - 1) / 2 for along, m in zip(moved, source, strict=True)])

    def _affine(self) -> Tensor:
        """What an affine alignment leaves: rotation, scale and shear of a few percent, `(3, 3)`."""
        return torch.eye(3, device=self.device) + 0.015 * self._normal(3, 3)

    def _displacement(self, size: Sequence[int]) -> Tensor:
        """A random diffeomorphism, `(3, D, H, W)`, voxels of the map; smooth at 64, 32 and 16 of them."""
        quarter = [max(n // 4, 2) for n in size]
        velocity = torch.zeros(1, 3, *quarter, device=self.device)
        for width, weight in ((64, 1.0), (32, 0.5), (16, 0.15)):
            velocity += weight * smooth_noise(quarter, width / (4 * self.spacing), 3, self.generator)[None]
        length = torch.linalg.vector_norm(velocity, dim=1).mean()
        velocity *= self._draw(0, self.deformation) / (4 * self.spacing) / length
        field = resize_field(integrate(velocity), list(size))[0] * self.spacing
        return field + self._normal(3, 1, 1, 1)

    def _smooth(self, brain: Tensor) -> Tensor:
        """How much brain there is around each voxel."""
        size = list(brain.shape[1:])
        coarse = interpolate(brain[None], size=[max(n * self.spacing // _NEAR, 1) for n in size], mode="area")
        return interpolate(coarse, size=size, mode="trilinear", align_corners=False)[0]

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)


def _cut(labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """The part of a map that positions reach, and the positions in it."""
    box, corner = [], []
    for along, size in zip(positions, labels.shape, strict=True):
        low, high = int(along.min()) - 2, int(along.max()) + 4
        low = min(max(low - low % 4, 0), size - 4)
        high = max(min(high - high % 4 + 4, size), low + 4)
        box.append(slice(low, high))
        corner.append(low)
    return labels[tuple(box)], positions - torch.tensor(corner, device=positions.device).view(3, 1, 1, 1)


def _render(labels: Tensor, contrasts: Tensor, spacing: int) -> Tensor:
    """Scans of a map `(X, Y, Z)` in several contrasts `(C, 1024)`, averaged over `spacing` voxels: `(C, D, H, W)`."""
    values = labels.int().flatten()
    scans = torch.stack([contrast.index_select(0, values).view(labels.shape) for contrast in contrasts])
    return avg_pool3d(scans, spacing) if spacing > 1 else scans


def _at(image: Tensor, positions: Tensor, source: Sequence[int], mode: str = "bilinear") -> Tensor:
    """Values `(C, D, H, W)` of an image `(C, ...)` that fills the box of the map, at positions in voxels of the map."""
    along = [(2 * places + 1) / size - 1 for places, size in zip(positions, source, strict=True)]
    grid = torch.stack(along[::-1], dim=-1)
    return grid_sample(image[None], grid[None], mode=mode, padding_mode="zeros", align_corners=False)[0]
