"""Pairs of scans as items of a dataset, each scan read and preprocessed once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import Compose, Transform
from torch import Tensor
from torch.utils.data import Dataset

from scripts.geometry import Grid, same_grid
from scripts.io import scan_name, transform_points
from scripts.runtime import InputError, find_input_error, rank, seed_from_torch


class PairDataset(Dataset[dict[str, Any]]):
    """Pairs of preprocessed scans.

    Built from scans (`training_scans`), it holds every ordered pair of two of them: N(N-1) items. Built from pairs
    (`validation_pairs`), it holds those. Either way a scan is read and preprocessed once and kept in memory, images
    within [-1, 1] as float16 (14 MB at 160x224x192, exact to a sixteenth of a grey level of 8 bits) and labels in the
    smallest integer type.

    Args:
        data: scans, dicts of paths `image`, `label`, `keypoints` (all but the first optional), or pairs of them,
            dicts `fixed`, `moving`.
        transform: applied to one scan; it must load the image as a `MetaTensor` `(1, X, Y, Z)`, and if it loads the
            others, the label as `(1, X, Y, Z)` and the keypoints as `(N, 3)` RAS mm: start it with `LoadScand`.
        cache_rate: share of the scans to keep in memory; the others are read at every use.
        cache_device: in whose memory.
        num_workers: threads that fill the memory.
        progress: show a progress bar while it fills.
        pair_transform: applied to every item, such as a random crop; see `seed_from_torch`.

    An item is a dict of `image` `(2, X, Y, Z)` float32, fixed and moving, with the fixed image's affine; where the
    scans have them, `fixed_label` and `moving_label` `(1, X, Y, Z)` int32 and `fixed_keypoints` and
    `moving_keypoints` `(N, 3)` float32 in voxels of the item's grid; `spacing` `(3,)` in mm; `fixed_path` and
    `moving_path`, and `fixed_name` and `moving_name`, the files' names without extensions.

    Raises:
        InputError: for bad files; for a pair on two grids, or with different numbers of keypoints.
        ValueError: if `data` is empty.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable[..., Any],
        cache_rate: float = 1.0,
        cache_device: torch.device | str = "cpu",
        num_workers: int = 2,
        progress: bool = True,
        pair_transform: Callable[..., Any] | None = None,
    ) -> None:
        if not data:
            raise ValueError("PairDataset needs scans or pairs, got none")
        self.data = data
        self.transform = transform
        self.pair_transform = pair_transform
        self._pairs: list[tuple[int, int]] | None = None
        scans = list(data)
        if "fixed" in data[0]:
            distinct = {scan["image"]: scan for pair in data for scan in (pair["fixed"], pair["moving"])}
            position = {image: index for index, image in enumerate(distinct)}
            scans = list(distinct.values())
            self._pairs = [(position[pair["fixed"]["image"]], position[pair["moving"]["image"]]) for pair in data]
        # flat: CacheDataset keeps nothing of what a nested Compose does, since any Compose may be random
        steps = Compose([transform, _Compact(cache_device)]).flatten()
        with _plain_input_errors():
            self._scans = CacheDataset(
                scans, steps, cache_rate=cache_rate, num_workers=num_workers, progress=progress and rank() == 0
            )

    def __len__(self) -> int:
        return len(self._scans) * (len(self._scans) - 1) if self._pairs is None else len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
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

    def _scan_indices(self, index: int) -> tuple[int, int]:
        if self._pairs is not None:
            return self._pairs[index]
        fixed, moving = divmod(index, len(self._scans) - 1)
        return fixed, moving + (moving >= fixed)


@contextmanager
def _plain_input_errors() -> Iterator[None]:
    """Let an InputError come out as itself, not inside the RuntimeErrors of MONAI's Compose."""
    try:
        yield
    except RuntimeError as error:
        cause = find_input_error(error)
        if cause is None:
            raise
        raise cause from None


class _Compact(Transform):
    """What is kept of a scan, in little memory. A class, since CacheDataset keeps only what a `Transform` does."""

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
            "scans on different grids; training and evaluation want one, so resample one"
        )
    # the first one's metadata, that of the fixed image, is what cat keeps
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
