# SPDX-License-Identifier: Apache-2.0
"""Learn2Reg's figures in plain numpy, from a dataset's own files."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import map_coordinates

from scripts.networks import MSFBNet


def dice(fixed: np.ndarray, moving: np.ndarray, warped: np.ndarray, labels: list[int]) -> float:
    values = []
    for label in labels:
        if (fixed == label).any() and (moving == label).any():
            both = ((fixed == label) & (warped == label)).sum()
            values.append(2 * both / ((fixed == label).sum() + (warped == label).sum()))
    return float(np.mean(values))


def tre(field: np.ndarray, fixed: np.ndarray, moving: np.ndarray, spacing: np.ndarray) -> float:
    displacement = np.stack([map_coordinates(u, fixed.T, order=1, mode="nearest") for u in field], axis=1)
    return float(np.linalg.norm((fixed + displacement - moving) * spacing, axis=1).mean())


def jacobian_determinant(field: np.ndarray) -> np.ndarray:
    gradient = np.stack([np.stack(np.gradient(u)) for u in field])  # [component, axis]
    return np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3))


def sdlogj(field: np.ndarray) -> float:
    determinant = jacobian_determinant(field)[2:-2, 2:-2, 2:-2]
    return float(np.log((determinant + 3).clip(1e-9, 1e9)).std())


def folding_percent(field: np.ndarray, mask: np.ndarray) -> float:
    inside = (slice(1, -1),) * 3
    return 100.0 * float((jacobian_determinant(field)[inside] <= 0)[mask[inside]].mean())


def predicted_field(network: MSFBNet, fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """The network on images that are scaled and padded here, without MONAI."""
    scaled = []
    for image in (fixed, moving):
        low, high = image.min(), np.percentile(image, 99.9)
        scaled.append(np.clip((image - low) / (high - low), 0, 1))
    missing = [(0, -size % network.multiple) for size in fixed.shape]
    pair = torch.from_numpy(np.stack([np.pad(image, missing) for image in scaled])[None]).float()
    with torch.no_grad():
        x, y, z = fixed.shape
        return network(pair)[0, :, :x, :y, :z].double().numpy()


def expected_rows(data: Path, network: MSFBNet) -> list[dict[str, float]]:
    """The figures of the validation pairs of a dataset, by name."""
    content = json.loads(next(data.glob("*.json")).read_text())
    labels = [int(value) for value in content["labels"] if value != "0"]
    rows = []
    for pair in content["registration_val"]:
        images, label_maps, points = {}, {}, {}
        for role, path in pair.items():
            file = data / path
            image = nib.load(file)
            spacing = np.array(image.header.get_zooms())
            images[role] = image.get_fdata()
            label_maps[role] = np.asarray(nib.load(data / "labelsTr" / file.name).dataobj)
            name = file.name.removesuffix(".nii.gz")
            points[role] = np.loadtxt(data / "keypointsTr" / f"{name}.csv", delimiter=",")
        field = predicted_field(network, images["fixed"], images["moving"])
        grid = np.stack(np.meshgrid(*map(np.arange, field.shape[1:]), indexing="ij"))
        warped = map_coordinates(label_maps["moving"], grid + field, order=0, mode="nearest")
        rows.append(
            {
                "dice_before": dice(*(label_maps[role] for role in ("fixed", "moving", "moving")), labels),
                "dice": dice(label_maps["fixed"], label_maps["moving"], warped, labels),
                "tre_before": tre(np.zeros_like(field), points["fixed"], points["moving"], spacing),
                "tre": tre(field, points["fixed"], points["moving"], spacing),
                "sdlogj": sdlogj(field),
                "folding_percent": folding_percent(field, images["moving"] > 0),
                "mean_length": float(np.linalg.norm(field, axis=0).mean()),
            }
        )
    return rows
