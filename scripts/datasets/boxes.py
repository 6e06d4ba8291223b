"""Training pairs of a dataset's scans: at their own voxels or at larger ones, whole or as boxes."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.nn.functional import avg_pool3d, pad

from scripts.runtime import rank


class RandScaledBoxd(MapTransform):
    """Take a random box of a pair, at larger voxels.

    A box of some size is drawn from torch's global generator: what restores that, as a resumed training does, takes the
    same again. Processes whose generators are in one state take different ones.

    Args:
        keys: of the images `(C, X, Y, Z)`, which are averaged over the larger voxels.
        label_keys: of the label maps `(1, X, Y, Z)`, which keep one voxel of each larger one; an item may lack them.
        spacing: voxels of the scans per voxel of the result, along each axis.
        size: of the box, `(D, H, W)` in voxels of the result; None takes all.
        multiple: that the result's sizes are multiples of; zeros fill what the scans lack, at the ends of the axes.
        device: where to do it, and where the results are.

    The result has the keys' entries as plain tensors `(C, D, H, W)`; all others stay as they are, those of the whole
    pair.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        label_keys: Sequence[str] = ("fixed_label", "moving_label"),
        spacing: int = 1,
        size: Sequence[int] | None = None,
        multiple: int = 16,
        device: torch.device | str = "cpu",
    ) -> None:
        MapTransform.__init__(self, keys)
        self.label_keys = label_keys
        self.spacing = spacing
        self.size = size
        self.multiple = multiple
        self.device = torch.device(device)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Take the box of one pair."""
        item = dict(data)
        whole = [n // self.spacing for n in data[self.keys[0]].shape[1:]]
        size = whole if self.size is None else list(self.size)
        left_out = [max(n - m, 0) for n, m in zip(whole, size, strict=True)]
        corner = left_out if self.size is None else _random_corner(left_out)
        box = tuple(
            slice(start * self.spacing, (start + min(n, m)) * self.spacing)
            for start, n, m in zip(corner, whole, size, strict=True)
        )
        for key in self.keys:
            image = self._cut(data[key], box)
            item[key] = self._filled(avg_pool3d(image, self.spacing) if self.spacing > 1 else image, size)
        for key in self.label_keys:
            if key in data:
                every = slice(None, None, self.spacing)
                item[key] = self._filled(self._cut(data[key], box)[:, every, every, every], size)
        return item

    def _cut(self, scan: Tensor, box: tuple[slice, ...]) -> Tensor:
        return convert_to_tensor(scan, track_meta=False)[(slice(None), *box)].to(self.device)

    def _filled(self, box: Tensor, size: Sequence[int]) -> Tensor:
        """With zeros up to the size, and up to a multiple."""
        wanted = [-(-m // self.multiple) * self.multiple for m in size]
        lacking = [m - n for m, n in zip(wanted, box.shape[1:], strict=True)]
        return pad(box, [0, lacking[2], 0, lacking[1], 0, lacking[0]]) if any(lacking) else box


def _random_corner(left_out: Sequence[int]) -> list[int]:
    """Where a box begins that leaves out so many voxels along each axis."""
    generator = np.random.RandomState(int(torch.randint(2**31, ())) + rank())
    return [generator.randint(n + 1) if n > 0 else 0 for n in left_out]
