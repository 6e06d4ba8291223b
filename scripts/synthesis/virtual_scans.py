# SPDX-License-Identifier: Apache-2.0
"""Pairs of virtual scans from label maps: the map gives the anatomy, everything else is drawn at random.

After SynthSeg (Billot et al., MedIA 2023) and SynthMorph (Hoffmann et al., TMI 2022). Everything runs on the given
device with torch's operations, because MONAI's random transforms for bias fields, noise and low resolution draw with
NumPy on the CPU.
"""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from monai.transforms import Randomizable, Transform
from torch import Tensor
from torch.nn.functional import interpolate

from scripts.synthesis.contrast import CSF_AROUND, EXTRACEREBRAL, LARGEST_LABEL, random_contrast, t1_contrast
from scripts.synthesis.corruption import corrupt
from scripts.synthesis.deformation import averaged, random_box, random_positions, sampled
from scripts.synthesis.randomness import Generators, uniform

_LABEL_KEYS = ("fixed_label", "moving_label")
_NEAR = 8  # voxels of the map: edge of the box in which skull stripping measures the share of brain


class RandSynthesizePaird(Randomizable, Transform):
    """Make a pair of virtual scans from two label maps, each deformed at random.

    The label maps `fixed_label` and `moving_label`, `(1, X, Y, Z)` integers, have one size and the label values of
    `scripts.synthesis.contrast`. They are replaced by the deformed ones, `(1, D, H, W)` int32, and two entries are
    added:

        image: `(2, D, H, W)` float32 in [0, 1], the fixed and the moving scan.
        target: `(4, D, H, W)` float32, two scans of the fixed anatomy without artifacts, then two of the moving one,
            in the same two contrasts (T1, random): what a loss compares that should not depend on the artifacts.

    Args:
        spacing: voxel size of the scans in voxels of the map: 1, 2 (volumes of half the size) or 4.
        size: size of the scans, `(D, H, W)` in their voxels, a random box of the map; None takes the whole map, padded
            to multiples of 16.
        head_probability: share of pairs that show the whole head, in [0, 1]; the others are skull-stripped.
        t1_probability: share of pairs of two T1 scans, in [0, 1].
        same_contrast_probability: share of pairs of two scans of one random contrast, in [0, 1 - t1_probability]; the
            others have two random contrasts.
        device: device that computes and holds the result.
    """

    def __init__(
        self,
        spacing: int = 1,
        size: Sequence[int] | None = None,
        head_probability: float = 0.1,
        t1_probability: float = 0.8,
        same_contrast_probability: float = 0.1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spacing = spacing
        self.size = size
        self.head_probability = head_probability
        self.t1_probability = t1_probability
        self.same_contrast_probability = same_contrast_probability
        self.device = torch.device(device)
        self.generators = Generators.on(self.device)
        self._draw = partial(uniform, self.generators.numbers)
        self._brain = torch.zeros(LARGEST_LABEL + 1, device=self.device)
        self._brain[1:EXTRACEREBRAL] = 1
        self._brain[CSF_AROUND] = 0

    def randomize(self, data: Any = None) -> None:
        """Seed torch's generators from the transform's own generator."""
        self.generators.seed(self.R)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Make one pair."""
        self.randomize()
        maps = [torch.as_tensor(data[key], device=self.device)[0] for key in _LABEL_KEYS]
        size, corner = random_box(maps[0].shape, self.spacing, self.size, 16, self.generators.numbers)
        flipped = self._draw(0, 1) < 0.5
        head = self._draw(0, 1) < self.head_probability
        contrasts, clean = self._contrasts()

        result = dict(data)
        images, targets = [], []
        for key, labels, contrast in zip(_LABEL_KEYS, maps, contrasts, strict=True):
            positions = random_positions(size, corner, self.spacing, labels.shape, flipped, *self.generators)
            if self.device.type == "cpu":  # on a GPU, waiting for the bounds takes longer than rendering the whole map
                labels, positions = _crop(labels, positions)
            scans = _render(labels, torch.stack([contrast, *clean, self._brain]), self.spacing)
            scans = sampled(scans, positions, self.spacing)
            if not head:
                brain_share = self._smooth(scans[3:])
                scans[:1] *= brain_share > self._draw(0.1, 0.5)
                scans[1:3] *= brain_share > 0.3
            images.append(corrupt(scans[:1], *self.generators))
            targets.append(scans[1:3])
            result[key] = sampled(labels[None].float(), positions, mode="nearest").int()
        return result | {"image": torch.cat(images), "target": torch.cat(targets)}

    def _contrasts(self) -> tuple[list[Tensor], list[Tensor]]:
        """Contrasts of the fixed and the moving scan, and the two contrasts of the target."""
        kind = self._draw(0, 1)
        if kind < self.t1_probability:
            contrasts = [t1_contrast(self.generators.numbers), t1_contrast(self.generators.numbers)]
        elif kind < self.t1_probability + self.same_contrast_probability:
            contrasts = [random_contrast(self.generators.numbers)] * 2
        else:
            contrasts = [random_contrast(self.generators.numbers), random_contrast(self.generators.numbers)]
        clean = [t1_contrast(self.generators.numbers), random_contrast(self.generators.numbers)]
        drawn = torch.stack([*contrasts, *clean]).to(self.device, non_blocking=True).unbind()
        return list(drawn[:2]), list(drawn[2:])

    def _smooth(self, brain: Tensor) -> Tensor:
        """Share of brain around each voxel, from a mask `(1, D, H, W)`; the same shape."""
        size = list(brain.shape[1:])
        coarse = interpolate(brain[None], size=[max(n * self.spacing // _NEAR, 1) for n in size], mode="area")
        return interpolate(coarse, size=size, mode="trilinear", align_corners=False)[0]


def _crop(labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """The part of a label map that contains the positions, and the positions relative to it."""
    box, corner = [], []
    for along, size in zip(positions, labels.shape, strict=True):
        low, high = int(along.min()) - 2, int(along.max()) + 4
        low = min(max(low - low % 4, 0), size - 4)
        high = max(min(high - high % 4 + 4, size), low + 4)
        box.append(slice(low, high))
        corner.append(low)
    return labels[tuple(box)], positions - torch.tensor(corner, device=positions.device).view(3, 1, 1, 1)


def _render(labels: Tensor, contrasts: Tensor, spacing: int) -> Tensor:
    """Scans `(C, D, H, W)` of a label map `(X, Y, Z)` in contrasts `(C, 1024)`, averaged over `spacing` voxels."""
    values = labels.int().flatten()
    scans = torch.stack([contrast.index_select(0, values).view(labels.shape) for contrast in contrasts])
    return averaged(scans, spacing)
