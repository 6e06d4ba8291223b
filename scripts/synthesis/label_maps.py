# SPDX-License-Identifier: Apache-2.0
"""Training pairs from label maps."""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Orientation
from torch import Tensor
from torch.utils.data import Dataset

from scripts.datasets import load_label
from scripts.runtime import InputError, seed_from_torch
from scripts.synthesis.contrast import LARGEST_LABEL


def label_map_files(label_dir: str | Path) -> list[Path]:
    """Files of the label maps in a folder, sorted by name.

    Args:
        label_dir: folder with `.nii`, `.nii.gz` or `.mgz` files; others are ignored.

    Raises:
        InputError: if the folder is missing or has fewer than two such files.
    """
    folder = Path(label_dir).expanduser()
    if not folder.is_dir():
        raise InputError(f"{label_dir}: no such folder of label maps; give --label_dir")
    files = sorted(file for file in folder.iterdir() if file.name.endswith((".nii", ".nii.gz", ".mgz")))
    if len(files) < 2:
        raise InputError(f"{label_dir}: {len(files)} label maps; pairs need at least two")
    return files


class LabelMapPairs(Dataset[dict[Hashable, Any]]):
    """All ordered pairs of label maps, those of a map with itself included, as virtual scans.

    Args:
        data: label map files, of one size after reorientation to RAS.
        pair_transform: transform of the item `fixed_label`, `moving_label`, two int16 tensors `(1, X, Y, Z)`, such as
            `RandSynthesizePaird`; random transforms of MONAI's are seeded from torch's global generator at each item.
        device: device in whose memory the label maps are kept.

    Raises:
        InputError: for files that `load_label` refuses, maps of different sizes, or labels outside 0 to 1023.
    """

    def __init__(
        self,
        data: list[Path],
        pair_transform: Callable[[Mapping[Hashable, Any]], dict[Hashable, Any]],
        device: torch.device | str = "cpu",
    ) -> None:
        self.data = data
        self.pair_transform = pair_transform
        to_ras = Orientation("RAS", labels=None)
        self._maps: list[Tensor] = []
        for file in data:
            labels = to_ras(load_label(file))
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high > LARGEST_LABEL:
                raise InputError(f"{file}: labels from {low} to {high}; want FreeSurfer's, 0 to {LARGEST_LABEL}")
            self._maps.append(torch.as_tensor(labels, dtype=torch.int16, device=device))
            if labels.shape != self._maps[0].shape:
                sizes = [tuple(shape[1:]) for shape in (labels.shape, self._maps[0].shape)]
                raise InputError(f"{file}: {sizes[0]} voxels, {data[0]} has {sizes[1]}; give maps of one size")

    def __len__(self) -> int:
        return len(self._maps) ** 2

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the label maps along the RAS axes, voxels."""
        return tuple(self._maps[0].shape[1:])

    def __getitem__(self, index: int) -> dict[Hashable, Any]:
        """One pair; negative indices count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        fixed, moving = divmod(index % len(self), len(self._maps))
        seed_from_torch(self.pair_transform)
        return self.pair_transform({"fixed_label": self._maps[fixed], "moving_label": self._maps[moving]})
