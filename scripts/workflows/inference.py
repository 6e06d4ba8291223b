"""From predicted fields to files in the user's own space."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
import torch

from scripts.data import load_scan, validation_pairs
from scripts.metrics import dice_per_label, finite_or_none, non_diffeomorphic_volume, percent_folding, sdlogj
from scripts.report import registration_picture
from scripts.spatial import warp
from scripts.workflows.start import check_folder
from scripts.workflows.steps import lncc
from scripts.world import InputError, displacement_ras, reorient_from_ras, reorient_to_ras, save_image, save_itk_field


def registration_pairs(
    fixed: str | None, moving: str | None, dataset_dir: str | None, section: str | None = None
) -> list[dict[str, Any]]:
    """The pairs to register: one of two files, or all of a dataset.

    Args:
        fixed: path of the fixed image.
        moving: path of the moving image.
        dataset_dir: Learn2Reg dataset, instead of the two.
        section: of the dataset JSON; its validation pairs where None.

    Returns:
        A list as `PairDataset` takes it.

    Raises:
        InputError: unless either both images or a dataset are given, or if the dataset is bad.
    """
    if dataset_dir is not None and fixed is None and moving is None:
        return validation_pairs(dataset_dir, section)
    if dataset_dir is None and fixed is not None and moving is not None:
        return [{"fixed": {"image": str(fixed)}, "moving": {"image": str(moving)}}]
    raise InputError("give either --fixed and --moving or --dataset_dir")


class SaveRegistration:
    """Write what a registration leaves, one folder for each pair of a dataset or one for the only pair.

    `moved.nii.gz` (moving image on the fixed grid), `warp.nii.gz` (ITK vector NIfTI), `metrics.json` and
    `picture.png`, all or none of them. The field is turned back to the fixed image's own orientation.

    Args:
        output_dir: where they go; made if need be.
        one_folder: write into `output_dir` itself, for the only pair.

    Raises:
        InputError: if `output_dir` is a file.
    """

    def __init__(self, output_dir: str | os.PathLike[str], one_folder: bool) -> None:
        check_folder(output_dir)
        self.output_dir = Path(output_dir)
        self.one_folder = one_folder

    def __call__(self, pair: Mapping[str, Any]) -> Mapping[str, Any]:
        """Save one pair of `evaluate_batch`'s output: `pred`, the paths, labels where there are any."""
        began = time.perf_counter()
        fixed, affine, original_affine = _read(pair["fixed_path"])
        moving, _, _ = _read(pair["moving_path"])
        field = pair["pred"].cpu()
        moved = warp(torch.from_numpy(moving)[None, None], field[None])[0, 0].numpy()
        displacement = displacement_ras(field.numpy(), affine, affine)

        folder = self.output_dir
        if not self.one_folder:
            folder = folder / f"{pair['fixed_name']}_{pair['moving_name']}"
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
            target = Path(unfinished)
            save_image(target / "moved.nii.gz", reorient_from_ras(moved, original_affine), original_affine)
            save_itk_field(target / "warp.nii.gz", reorient_from_ras(displacement, original_affine), original_affine)
            spacing = nib.affines.voxel_sizes(affine)
            title = f"{pair['moving_name']} registered to {pair['fixed_name']}"
            registration_picture(target / "picture.png", fixed, moving, moved, field, spacing, title)
            figures = _figures(pair, displacement) | {"seconds_to_save": time.perf_counter() - began}
            (target / "metrics.json").write_text(json.dumps(finite_or_none(figures), indent=2, allow_nan=False) + "\n")
            for file in sorted(target.iterdir()):
                os.replace(file, folder / file.name)
        print(f"{title}: {folder / 'picture.png'}")
        return pair


def _figures(pair: Mapping[str, Any], displacement: np.ndarray) -> dict[str, Any]:
    image, field, mask = pair["image"].cpu(), pair["pred"].cpu(), pair["moving_mask"].cpu()
    lengths = np.linalg.norm(displacement, axis=-1)
    figures = {
        "fixed": str(pair["fixed_path"]),
        "moving": str(pair["moving_path"]),
        "lncc_before": lncc(image, torch.zeros_like(field)).item(),
        "lncc": lncc(image, field).item(),
        "ndv_percent": non_diffeomorphic_volume(field, mask).item(),
        "folding_percent": percent_folding(field, mask).item(),
        "sdlogj": sdlogj(field).item(),
        "mean_displacement_mm": float(lengths[mask[0].numpy()].mean()),
        "max_displacement_mm": float(lengths.max()),
        "seconds_to_predict": pair["seconds"],
    }
    if "warped_label" in pair and "fixed_label" in pair:
        fixed_label, moving_label = pair["fixed_label"].cpu(), pair["moving_label"].cpu()
        labels = sorted({*fixed_label.unique().tolist(), *moving_label.unique().tolist()} - {0})
        for name, label in (("dice_before", moving_label), ("dice", pair["warped_label"].cpu())):
            figures[name] = dice_per_label(fixed_label, label, labels, moving_label).nanmean().item()
    return figures


def _read(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intensities `(X, Y, Z)` on RAS axes, their affine, and the affine of the file's own axes."""
    image = load_scan(path)
    array, affine = reorient_to_ras(image[0].numpy(), image.affine.numpy())
    return array, affine, image.affine.numpy()
