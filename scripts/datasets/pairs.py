# SPDX-License-Identifier: Apache-2.0
"""Pairs of scans as items of a dataset; each scan is read and preprocessed once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import Compose, Transform
from torch import Tensor
from torch.utils.data import Dataset

from scripts.datasets.loading import LoadScand
from scripts.geometry import Grid, same_grid
from scripts.io import scan_name, transform_points
from scripts.runtime import InputError, find_input_error, rank, seed_from_torch


class PairDataset(Dataset[dict[str, Any]]):
    """Pairs of preprocessed scans.

    From scans (`training_scans`) it makes all ordered pairs of two different ones, N(N-1) items. From pairs
    (`validation_pairs`) it makes one item each. A scan is read and preprocessed once and kept in memory: images within
    [-1, 1] as float16 (14 MB at 160x224x192, exact to a sixteenth of a gray level of 8 bits), label maps in the
    smallest integer type.

    An item is a dict, since MONAI collates items into batches by key. In a batch, tensors have one more axis in front,
    and strings become lists. Its keys are:

        image: `(2, X, Y, Z)` float32, the fixed and the moving image as `transform` scales them; a `MetaTensor` with
            the affine of the fixed image.
        fixed_label, moving_label: label maps, `(1, X, Y, Z)` int32; only if the scans have them.
        fixed_keypoints, moving_keypoints: `(N, 3)` float32, voxels of the item's grid, row i of both the same
            anatomical point; only if the scans have them.
        spacing: voxel size, `(3,)` float32, mm.
        fixed_path, moving_path: image files.
        fixed_name, moving_name: names of the image files without extensions.

    Args:
        data: files of scans (`learn2reg.ScanFiles`) or of pairs (`learn2reg.PairFiles`), not empty.
        transform: reads and preprocesses one scan, beginning with `LoadScand`. It makes `image` a `MetaTensor`
            `(1, X, Y, Z)`; `label` and `keypoints`, if it loads them, `(1, X, Y, Z)` and `(N, 3)` in RAS mm.
        cache_rate: share of the scans that are kept in memory, in [0, 1]; the others are read at every use.
        cache_device: device in whose memory they are kept.
        pair_transform: transform of each item, such as `RandScaledBoxd`; random transforms of MONAI's are seeded from
            torch's global generator at each item.

    Raises:
        InputError: at once for headers that are not readable, for a pair of scans on different grids, and for a pair
            with different numbers of keypoints; for other faults of a file when it is first read.
        ValueError: if `data` is empty.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable[..., Any],
        cache_rate: float = 1.0,
        cache_device: torch.device | str = "cpu",
        pair_transform: Callable[..., Any] | None = None,
    ) -> None:
        if not data:
            raise ValueError("PairDataset needs scans or pairs, got none")
        self.data = data
        self.pair_transform = pair_transform
        self._pairs: list[tuple[int, int]] | None = None
        scans = list(data)
        if "fixed" in data[0]:
            distinct = {scan["image"]: scan for pair in data for scan in (pair["fixed"], pair["moving"])}
            position = {image: index for index, image in enumerate(distinct)}
            scans = list(distinct.values())
            self._pairs = [(position[pair["fixed"]["image"]], position[pair["moving"]["image"]]) for pair in data]
        # Flat, because CacheDataset caches up to the first transform that may be random, and any Compose counts as one.
        steps = Compose([transform, _Compact(cache_device)]).flatten()
        with _plain_input_errors():
            self._check(scans, steps)
            self._scans = CacheDataset(scans, steps, cache_rate=cache_rate, num_workers=2, progress=rank() == 0)

    def __len__(self) -> int:
        return len(self._scans) * (len(self._scans) - 1) if self._pairs is None else len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One pair; negative indices count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        fixed_index, moving_index = self._scan_indices(index % len(self))
        with _plain_input_errors():
            fixed, moving = self._scans[fixed_index], self._scans[moving_index]
        item = _pair_item(fixed, moving)
        if self.pair_transform is None:
            return item
        seed_from_torch(self.pair_transform)
        return self.pair_transform(item)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the scans as `transform` makes them, voxels."""
        with _plain_input_errors():
            return tuple(self._scans[0]["image"].shape[1:])

    def _check(self, scans: Sequence[dict[str, Any]], steps: Compose) -> None:
        """Refuse by headers and keypoints alone what an item would be refused for, maybe after hours of training."""
        loader = steps.transforms[0]
        if not isinstance(loader, LoadScand):
            return
        grids, counts = [loader.grid(scan) for scan in scans], [loader.points(scan) for scan in scans]
        seen = set()
        for fixed, moving in self._pairs or [(0, index) for index in range(1, len(scans))]:
            alike = counts[fixed] == counts[moving] or None in (counts[fixed], counts[moving])
            kind = (alike, *((grids[index].shape, grids[index].affine.tobytes()) for index in (fixed, moving)))
            if kind not in seen and not (alike and same_grid(grids[fixed], grids[moving])):
                # What the transform makes of the scans decides: it may resample them.
                _pair_item(steps(scans[fixed]), steps(scans[moving]))
            seen.add(kind)

    def _scan_indices(self, index: int) -> tuple[int, int]:
        if self._pairs is not None:
            return self._pairs[index]
        fixed, moving = divmod(index, len(self._scans) - 1)
        return fixed, moving + (moving >= fixed)


@contextmanager
def _plain_input_errors() -> Iterator[None]:
    """Raise an InputError itself instead of the RuntimeErrors in which MONAI's Compose wraps it."""
    try:
        yield
    except RuntimeError as error:
        cause = find_input_error(error)
        if cause is None:
            raise
        raise cause from None


class _Compact(Transform):
    """Reduce a scan to what is cached. A class, because CacheDataset caches only results of a `Transform`."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = device

    def __call__(self, scan: dict[str, Any]) -> dict[str, Any]:
        image = scan["image"]
        kept = {"image": (image.to(torch.float16) if float(image.abs().max()) <= 1.0 else image).to(self.device)}
        label = scan.get("label")
        if isinstance(label, Tensor):
            low, high = int(label.min()), int(label.max())
            fits = (t for t in (torch.uint8, torch.int16) if torch.iinfo(t).min <= low and high <= torch.iinfo(t).max)
            kept["label"] = label.as_subclass(Tensor).to(self.device, next(fits, torch.int32))
        if isinstance(scan.get("keypoints"), Tensor):
            kept["keypoints"] = scan["keypoints"]
        return kept


def _pair_item(fixed: dict[str, Any], moving: dict[str, Any]) -> dict[str, Any]:
    scans = {"fixed": fixed, "moving": moving}
    files = {role: str(scan["image"].meta["filename_or_obj"]) for role, scan in scans.items()}
    grids = [
        Grid(tuple(scan["image"].shape[1:]), scan["image"].affine.cpu().double().numpy()) for scan in scans.values()
    ]
    if not same_grid(*grids):
        raise InputError(
            f"{files['fixed']} ({grids[0]}) and {files['moving']} ({grids[1]}): "
            "scans on different grids; training and evaluation need scans on one grid, so resample one of them"
        )
    # Concatenation keeps the metadata of the first tensor, the fixed image.
    item: dict[str, Any] = {"image": torch.cat([fixed["image"], moving["image"]]).to(torch.float32)}
    affine = fixed["image"].affine.cpu().double()
    item["spacing"] = torch.linalg.vector_norm(affine[:3, :3], dim=0).to(torch.float32)
    to_voxels = torch.linalg.inv(affine)
    for role, scan in scans.items():
        item[f"{role}_path"], item[f"{role}_name"] = files[role], scan_name(files[role])
        if "label" in scan:
            item[f"{role}_label"] = MetaTensor(
                scan["label"].to(torch.int32, copy=True), affine=scan["image"].affine.clone()
            )
        if "keypoints" in scan:
            item[f"{role}_keypoints"] = transform_points(scan["keypoints"], to_voxels).to(torch.float32)
    counts = [len(scan["keypoints"]) for scan in scans.values() if "keypoints" in scan]
    if len(set(counts)) == 2:
        raise InputError(
            f"{files['fixed']} has {counts[0]} keypoints and {files['moving']} has {counts[1]}: "
            f"row i of both must be the same point; correct the keypoint files"
        )
    return item
