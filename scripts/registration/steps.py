"""The steps of a registration: from the files of a job to transforms of the world.

Each step takes a pair, a dict that begins as a job (see `jobs.registration_jobs`), and returns it with more in it.
Images and labels keep their files' own axes; where they meet is the world, RAS mm, and the network's grid.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.transforms import Transform
from numpy.typing import NDArray

from scripts.datasets import foreground, looks_skull_stripped, scale_intensity
from scripts.geometry import Affine, Chain, Field, align, as_field, network_grid, resample
from scripts.io import load_keypoints, read_label, read_mask, read_points, read_scan, read_transform
from scripts.registration.jobs import ROLES
from scripts.registration.outcomes import Attempt
from scripts.runtime import InputError, stage

Pair = dict[str, Any]


class ReadPair(Transform):
    """Read and check the files of a job.

    Adds for each role, `fixed` and `moving`: `{role}_scan` (a `Scan`), and where the job has them `{role}_mask` and
    `{role}_label`, `(X, Y, Z)` on the scan's grid, and `{role}_points`, `(N, 3)` RAS mm. Adds `warnings`, by role.

    Args:
        volume: which one to take of an image with several.
        assume_ras: take images whose header says nothing of their orientation as RAS.
        expects_skull_stripped: warn of whole heads that come without a mask.

    Raises:
        InputError: for whatever is wrong with the files.
    """

    def __init__(self, volume: int | None, assume_ras: bool, expects_skull_stripped: bool) -> None:
        self.volume = volume
        self.assume_ras = assume_ras
        self.expects_skull_stripped = expects_skull_stripped

    def __call__(self, pair: Mapping[str, Any]) -> Pair:
        """Read them."""
        read: Pair = {**pair, "stages": {}, "warnings": {}}
        with stage(read["stages"], "load"):
            for role in ROLES:
                self._read(read, role)
        counts = [len(read[f"{role}_points"]) for role in ROLES if f"{role}_points" in read]
        if len(set(counts)) == 2:
            raise InputError(
                f"{read['fixed_scan'].path} has {counts[0]} landmarks and {read['moving_scan'].path} has {counts[1]}: "
                f"row i of both must be the same point; correct the files"
            )
        return read

    def _read(self, pair: Pair, role: str) -> None:
        files = pair[role]
        scan = pair[f"{role}_scan"] = read_scan(files["image"], self.volume, self.assume_ras)
        warnings = [*scan.warnings]
        if "mask" in files:
            mask = read_mask(files["mask"], scan, self.assume_ras)
            pair[f"{role}_mask"] = mask.array
            warnings += mask.warnings
        elif self.expects_skull_stripped and not looks_skull_stripped(scan.array, scan.affine):
            warnings.append(
                "not skull-stripped, as it seems, while the network was trained on skull-stripped brains; "
                f"strip it with HD-BET or SynthStrip, or give --{role}_mask"
            )
        if "label" in files:
            label = read_label(files["label"], scan, self.assume_ras)
            pair[f"{role}_label"] = label.array
            warnings += label.warnings
        if "landmarks" in files:
            pair[f"{role}_points"] = read_points(files["landmarks"]).positions
        elif "keypoints" in files:
            pair[f"{role}_points"] = Affine(scan.affine)(load_keypoints(files["keypoints"]).numpy())
        pair["warnings"][role] = warnings
        for warning in warnings:
            print(f"warning: {scan.path}: {warning}", file=sys.stderr)


class AlignPair(Transform):
    """Find the affine map from the fixed to the moving image.

    Adds `scaled`, both images `(X, Y, Z)` in [0, 1], and `affine`, `(4, 4)` RAS mm.

    Args:
        init: `affine`; `rigid`; `none`, the images lie in one world; or an ITK transform file.
        seed: of the samples that the similarity is measured at.

    Raises:
        InputError: if `init` is none of these, or an image shows nothing but background.
    """

    def __init__(self, init: str, seed: int) -> None:
        self.kind: Literal["affine", "rigid"] = "rigid" if init == "rigid" else "affine"
        self.given: NDArray[np.floating] | None = None
        if init == "none":
            self.given = np.eye(4)
        elif init not in ("affine", "rigid"):
            self.given = _read_affine(init)
        self.seed = seed

    def __call__(self, pair: Mapping[str, Any]) -> Pair:
        """Align them."""
        aligned: Pair = dict(pair)
        with stage(aligned["stages"], "affine"):
            scans = [pair[f"{role}_scan"] for role in ROLES]
            masks = [pair.get(f"{role}_mask") for role in ROLES]
            scaled = [scale_intensity(scan.array, mask) for scan, mask in zip(scans, masks, strict=True)]
            for scan, image in zip(scans, scaled, strict=True):
                if not image.any():
                    raise InputError(
                        f"{scan.path}: nothing stands out from the background; give another image or a mask"
                    )
            matrix = self.given
            if matrix is None:
                affines = [scan.affine for scan in scans]
                matrix = align(scaled[0], affines[0], scaled[1], affines[1], self.kind, masks[0], masks[1], self.seed)
            aligned |= {"scaled": scaled, "affine": matrix}
        return aligned


class ToNetworkGrid(Transform):
    """Bring both images to the grid that the network works on: along the RAS axes, centred on the fixed foreground.

    Adds `image` `(2, X, Y, Z)`, fixed and affinely aligned moving image, in [0, 1]; `grid`, where that lies; and
    `foregrounds`, of both images there, `(2, X, Y, Z)`.

    Args:
        multiple: what the sizes must be multiples of.
        spacing: edge of its voxels, mm: that of the scans that the network was trained on.
        least_size: of the grid, voxels.
    """

    def __init__(self, multiple: int, spacing: float, least_size: Sequence[int]) -> None:
        self.multiple = multiple
        self.spacing = spacing
        self.least_size = least_size

    def __call__(self, pair: Mapping[str, Any]) -> Pair:
        """Resample them."""
        prepared: Pair = dict(pair)
        with stage(prepared["stages"], "prepare"):
            scans = [pair[f"{role}_scan"] for role in ROLES]
            masks = [pair.get(f"{role}_mask") for role in ROLES]
            insides = [foreground(scan.array, mask) for scan, mask in zip(scans, masks, strict=True)]
            grid = network_grid(insides[0], scans[0].affine, self.multiple, self.spacing, self.least_size)
            images, foregrounds = [], []
            for scaled, inside, scan, matrix in zip(
                pair["scaled"], insides, scans, (np.eye(4), pair["affine"]), strict=True
            ):
                transform = Affine(matrix)
                images.append(resample(scaled, scan.affine, grid, transform))
                foregrounds.append(resample(inside, scan.affine, grid, transform, "nearest"))
            # No tensors: workers would hand them over in shared memory, which is scarce.
            prepared |= {"image": np.stack(images), "foregrounds": np.stack(foregrounds), "grid": grid}
            del prepared["scaled"]
        return prepared


def as_it_is(pair: Pair) -> Pair:
    """Collate nothing: a loader without batches hands single pairs on."""
    return pair


def predict_pair(engine: SupervisedEvaluator, pair: Mapping[str, Any]) -> Pair:
    """Iteration of an evaluator over single pairs: adds `pred`, the field `(3, X, Y, Z)`, voxels of its grid.

    Args:
        engine: MONAI's evaluator.
        pair: of `ToNetworkGrid`.
    """
    output = Attempt(lambda pair: _predict(engine, pair))(pair)
    engine.state.output = output
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return engine.state.output


def _predict(engine: SupervisedEvaluator, pair: Mapping[str, Any]) -> Pair:
    predicted: Pair = dict(pair)
    with stage(predicted["stages"], "network"), engine.mode(engine.network):
        image = torch.from_numpy(pair["image"])
        field = engine.inferer(image[None].to(engine.state.device), engine.network)
        predicted |= {"image": image, "pred": field[0].float().cpu(), "device": str(engine.state.device)}
    return predicted


class ToWorld(Transform):
    """Fuse the field with the affine.

    Adds `transform`, from the fixed to the moving space, and `warp`, the same as a field on the fixed image's own grid.
    """

    def __call__(self, pair: Mapping[str, Any]) -> Pair:
        """Fuse them."""
        fused: Pair = dict(pair)
        with stage(fused["stages"], "fuse"):
            # The network's grid lies along the world's axes, so its voxels need no turning to become mm.
            displacement = np.moveaxis(pair["pred"].numpy() * grid_spacing(pair), 0, -1)
            field = Field(np.ascontiguousarray(displacement), pair["grid"].affine)
            fused["transform"] = Chain([Affine(pair["affine"]), field])
            scan = pair["fixed_scan"]
            fused["warp"] = as_field(fused["transform"], scan.grid)
        return fused


class Invert(Transform):
    """Add `inverse_warp`, the inverse of `transform` as a field on the moving image's own grid."""

    def __call__(self, pair: Mapping[str, Any]) -> Pair:
        """Invert it."""
        inverted: Pair = dict(pair)
        with stage(inverted["stages"], "invert"):
            scan = pair["moving_scan"]
            inverted["inverse_warp"] = as_field(pair["transform"].inverse(), scan.grid)
        return inverted


def grid_spacing(pair: Mapping[str, Any]) -> float:
    """Edge of the voxels of the network's grid, mm."""
    return float(pair["grid"].affine[0, 0])


def _read_affine(path: str) -> NDArray[np.floating]:
    if not Path(path).expanduser().is_file():
        raise InputError(f"{path}: --init is affine, rigid, none or an ITK transform file, and there is no such file")
    transform = read_transform(path)
    if not isinstance(transform, Affine):
        raise InputError(f"{path}: holds more than an affine map; give an ITK affine (.mat, .tfm) to --init")
    return transform.matrix
