# SPDX-License-Identifier: Apache-2.0
"""Training pairs at the scans' voxel size or at a larger one, as whole volumes or as random boxes."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.nn.functional import avg_pool3d, pad

from scripts.runtime import InputError, rank

_LABEL_KEYS = ("fixed_label", "moving_label")


def check_box(spacing: Any, size: Any, option: str) -> None:
    """Refuse what is no voxel size or no size of a box.

    Args:
        spacing: voxel size in voxels of the scans, a whole number from 1.
        size: size of the box along each axis, in voxels of that size, each from 1; None for the whole volume.
        option: what they come from, for the message.

    Raises:
        InputError: if they are something else.
    """
    if type(spacing) is not int or spacing < 1:
        raise InputError(f"{option}: spacing {spacing}: want a whole number of voxels, from 1")
    lengths = size if isinstance(size, Sequence) and not isinstance(size, str) else (size,)
    if size is not None and not (len(lengths) == 3 and all(type(n) is int and n > 0 for n in lengths)):
        raise InputError(f"{option}: size {size}: want three numbers of voxels, such as [96, 112, 96]")


class RandScaledBoxd(MapTransform):
    """Cut a random box out of a pair and downsample it.

    Images are averaged over the larger voxels. The label maps `fixed_label` and `moving_label`, where the item has
    them, keep the first voxel of each larger one. Both become plain tensors `(C, D, H, W)`; all other entries stay
    unchanged and describe the whole pair.

    The position of the box is drawn from torch's global generator: a resumed training, which restores the generator's
    state, cuts the same boxes again. Processes that train together share this state; their ranks are added to the
    seed, so they cut different boxes.

    Args:
        keys: keys of the images, `(C, X, Y, Z)`.
        multiple: the sizes of the result are multiples of this number of voxels, from 1; zeros are padded at the ends
            of the axes.
        spacing: voxel size of the result in voxels of the scans, a whole number from 1.
        size: size of the box, `(D, H, W)` in voxels of the result; None keeps the whole volume.
        device: device that computes and holds the result.
    """

    def __init__(
        self,
        keys: KeysCollection,
        multiple: int,
        spacing: int = 1,
        size: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        MapTransform.__init__(self, keys)
        self.multiple = multiple
        self.spacing = spacing
        self.size = size
        self.device = torch.device(device)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut the box out of one pair."""
        item = dict(data)
        whole = [n // self.spacing for n in data[self.keys[0]].shape[1:]]
        size = whole if self.size is None else list(self.size)
        corner = [0, 0, 0] if self.size is None else _random_corner(whole, size)
        box = tuple(
            slice(start * self.spacing, (start + min(n, m)) * self.spacing)
            for start, n, m in zip(corner, whole, size, strict=True)
        )
        for key in self.keys:
            image = self._cut(data[key], box)
            item[key] = self._padded(avg_pool3d(image, self.spacing) if self.spacing > 1 else image, size)
        for key in _LABEL_KEYS:
            if key in data:
                step = slice(None, None, self.spacing)
                item[key] = self._padded(self._cut(data[key], box)[:, step, step, step], size)
        return item

    def _cut(self, scan: Tensor, box: tuple[slice, ...]) -> Tensor:
        return convert_to_tensor(scan, track_meta=False)[(slice(None), *box)].to(self.device)

    def _padded(self, box: Tensor, size: Sequence[int]) -> Tensor:
        """Pad with zeros to the size, rounded up to the multiple."""
        wanted = [-(-m // self.multiple) * self.multiple for m in size]
        missing = [m - n for m, n in zip(wanted, box.shape[1:], strict=True)]
        return pad(box, [0, missing[2], 0, missing[1], 0, missing[0]]) if any(missing) else box


def _random_corner(whole: Sequence[int], size: Sequence[int]) -> list[int]:
    """First voxel of a box of this size inside the whole volume; 0 along axes where the box is larger."""
    generator = np.random.RandomState(int(torch.randint(2**31, ())) + rank())
    return [generator.randint(n - m + 1) if n > m else 0 for n, m in zip(whole, size, strict=True)]
