# SPDX-License-Identifier: Apache-2.0
"""Real scans, each deformed at random and with artifacts: more variety from few people."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Randomizable, Transform
from monai.utils import convert_to_tensor

from scripts.synthesis.corruption import corrupt
from scripts.synthesis.deformation import averaged, random_box, random_positions, sampled
from scripts.synthesis.randomness import Generators, uniform

_LABEL_KEYS = ("fixed_label", "moving_label")


class RandDeformPaird(Randomizable, Transform):
    """Deform both scans of a pair at random, and add random artifacts to them.

    `image`, `(2, X, Y, Z)`, and the label maps `fixed_label` and `moving_label`, where the item has them,
    `(1, X, Y, Z)`, are replaced by the deformed ones, plain tensors `(C, D, H, W)`; one entry is added:

        target: `(2, D, H, W)` float32, both scans without the added artifacts, for the loss.

    Both scans are flipped together, so that labels keep their sides to one another.

    Args:
        spacing: voxel size of the result in voxels of the scans, a whole number from 1.
        size: size of the result, `(D, H, W)` in its voxels, a random box; None takes the whole volume, padded.
        multiple: the size of a whole volume is rounded up to multiples of this number of voxels, from 1.
        device: device that computes and holds the result.
    """

    def __init__(
        self,
        spacing: int = 1,
        size: Sequence[int] | None = None,
        multiple: int = 16,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spacing = spacing
        self.size = size
        self.multiple = multiple
        self.device = torch.device(device)
        self.generators = Generators.on(self.device)

    def randomize(self, data: Any = None) -> None:
        """Seed torch's generators from the transform's own generator."""
        self.generators.seed(self.R)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Deform one pair."""
        self.randomize()
        images = convert_to_tensor(data["image"], track_meta=False).to(self.device, torch.float32)
        source = images.shape[1:]
        size, corner = random_box(source, self.spacing, self.size, self.multiple, self.generators.numbers)
        flipped = uniform(self.generators.numbers, 0, 1) < 0.5

        result = dict(data)
        scans = averaged(images, self.spacing)
        clean, shown = [], []
        for scan, key in zip(scans, _LABEL_KEYS, strict=True):
            positions = random_positions(size, corner, self.spacing, source, flipped, *self.generators)
            clean.append(sampled(scan[None], positions, self.spacing))
            shown.append(corrupt(clean[-1], *self.generators))
            if key in data:
                labels = convert_to_tensor(data[key], track_meta=False).to(self.device, torch.float32)
                result[key] = sampled(labels, positions, mode="nearest").int()
        return result | {"image": torch.cat(shown), "target": torch.cat(clean)}
