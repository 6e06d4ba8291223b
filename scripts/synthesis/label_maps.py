"""Label maps as a source of training pairs."""

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
    """The label maps of a folder, in the order of their names.

    Raises:
        InputError: if the folder is missing or holds fewer than two `.nii`, `.nii.gz` or `.mgz` files.
    """
    folder = Path(label_dir).expanduser()
    if not folder.is_dir():
        raise InputError(f"{label_dir}: no such folder of label maps; give --label_dir")
    files = sorted(file for file in folder.iterdir() if file.name.endswith((".nii", ".nii.gz", ".mgz")))
    if len(files) < 2:
        raise InputError(f"{label_dir}: {len(files)} label maps; pairs need at least two")
    return files


class LabelMapPairs(Dataset[dict[Hashable, Any]]):
    """Pairs of label maps, made into scans by a random transform: every ordered pair, a map with itself too.

    Args:
        data: the maps' files, on grids of one size after reorientation to RAS.
        pair_transform: a `RandSynthesizePaird`, or another one that takes `fixed_label` and `moving_label`,
            `(1, X, Y, Z)`. See `seed_from_torch`.
        device: where the maps are kept.

    Raises:
        InputError: for bad files, maps of different sizes, or labels that FreeSurfer's numbering does not have.
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

    def __getitem__(self, index: int) -> dict[Hashable, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        fixed, moving = divmod(index % len(self), len(self._maps))
        seed_from_torch(self.pair_transform)
        return self.pair_transform({"fixed_label": self._maps[fixed], "moving_label": self._maps[moving]})
