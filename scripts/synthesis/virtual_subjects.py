# SPDX-License-Identifier: Apache-2.0
"""Virtual subjects: an anatomy deformed by a known diffeomorphism, scanned with random contrast and noise.

Subject s is `anatomy(x + phi_s(x))` with `phi_s = exp(v_s)`, so the displacement field between two subjects is known.
All results depend only on the seed.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from scripts.io import save_image, whole_folder
from scripts.runtime import InputError
from scripts.spatial import compose, integrate, warp
from scripts.synthesis.anatomies import Anatomy, Size, icbm_anatomy, phantom_anatomy

# The velocity is a sum of smooth noise: standard deviation of each smoothing as a share of the grid's mean size, and
# the weight of the noise.
_SCALES = ((1 / 5, 1.0), (1 / 10, 0.5), (1 / 20, 0.2))
# Mean length of the velocity over the brain as a share of the grid's mean size. Between two subjects the mean
# displacement is about 1.4 times as large.
_AMPLITUDE = 0.025
# Share of the grid at each face over which the velocity decreases to 0: no point leaves the grid, and exp(-v) is the
# inverse of exp(v).
_MARGIN = 0.15


class VirtualSubject(NamedTuple):
    """One virtual subject.

    Attributes:
        image: `(1, 1, X, Y, Z)` float32 in [0, 1], exactly 0 outside the brain.
        labels: label map, `(1, 1, X, Y, Z)` int32.
        velocity: `(1, 3, X, Y, Z)` voxels; `integrate(velocity)` warps the anatomy to the subject, and
            `integrate(-velocity)` the subject to the anatomy.
    """

    image: Tensor
    labels: Tensor
    velocity: Tensor


class VirtualPair(NamedTuple):
    """Two virtual subjects and the displacement field between them.

    Attributes:
        fixed: the fixed subject.
        moving: the moving subject.
        field: `(1, 3, X, Y, Z)` voxels; `moving(x + field(x))` is the same point of the anatomy as `fixed(x)`.
    """

    fixed: VirtualSubject
    moving: VirtualSubject
    field: Tensor


def virtual_subject(anatomy: Anatomy, seed: int) -> VirtualSubject:
    """Deform and scan an anatomy.

    Args:
        anatomy: anatomy to deform.
        seed: seed of the subject, from 0.
    """
    generator = torch.Generator().manual_seed(seed)
    velocity = _random_velocity(anatomy.labels > 0, generator)
    field = integrate(velocity)
    labels = _warp_labels(anatomy.labels[None, None], field)
    image = warp(_random_offsets(anatomy, generator)[None, None], field)
    image = image * _bias_field(image.shape[2:], generator)
    image = image + 0.015 * torch.randn(image.shape, generator=generator)
    return VirtualSubject(image.clamp(0.0, 1.0) * (labels > 0), labels, velocity)


def virtual_pair(anatomy: Anatomy, seed: int) -> VirtualPair:
    """Two subjects of an anatomy, and the field that warps the moving one to the fixed one.

    Args:
        anatomy: anatomy to deform.
        seed: seed of the pair, from 0.
    """
    fixed = virtual_subject(anatomy, 2 * seed)
    moving = virtual_subject(anatomy, 2 * seed + 1)
    return VirtualPair(fixed, moving, compose(integrate(-moving.velocity), integrate(fixed.velocity)))


def subject_points(velocity: Tensor, points: Tensor) -> Tensor:
    """Positions of points of the anatomy in a subject.

    Args:
        velocity: velocity of the subject, `(1, 3, X, Y, Z)` voxels.
        points: `(N, 3)`, whole voxels of the anatomy's grid.

    Returns:
        `(N, 3)`, voxels of the same grid.
    """
    inverse = integrate(-velocity)[0]
    i, j, k = points.long().unbind(dim=1)
    return points + inverse[:, i, j, k].T


def write_dataset(
    directory: str | Path,
    size: Size,
    num_training: int,
    num_validation: int,
    seed: int = 0,
    anatomy: Literal["icbm", "shapes"] = "icbm",
) -> Path:
    """Write virtual subjects as a dataset in Learn2Reg's layout, with `VIRTUAL_dataset.json`.

    Each subject has an image (uint8), a label map (uint8) and 100 keypoints inside the brain. Validation subjects are
    not training subjects; each one is paired with the next, and the last with the first.

    Args:
        directory: folder to make; it is complete as soon as it exists.
        size: size of the scans, `(X, Y, Z)` voxels.
        num_training: number of training subjects, from 2.
        num_validation: number of validation subjects, and of validation pairs, from 2.
        seed: seed of the subjects and keypoints, from 0.
        anatomy: anatomy of the subjects: `icbm`, which needs nilearn, or `shapes`.

    Returns:
        The folder.

    Raises:
        InputError: if the folder is not empty, a number of subjects is below 2, or nilearn is missing.
    """
    target = Path(directory).expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{directory}: not empty; give a new folder")
    if num_training < 2 or num_validation < 2:
        raise InputError(
            f"{directory}: {num_training} training and {num_validation} validation subjects; want 2 or more"
        )

    brain = icbm_anatomy(size) if anatomy == "icbm" else phantom_anatomy(size)
    generator = torch.Generator().manual_seed(seed)
    inside = torch.nonzero(brain.labels > 0)
    points = inside[torch.randperm(len(inside), generator=generator)[:100]].float()

    with whole_folder(target) as folder:
        for kind in ("imagesTr", "labelsTr", "keypointsTr"):
            (folder / kind).mkdir()
        names = [f"VIRTUAL_{number + 1:04d}_0000" for number in range(num_training + num_validation)]
        for number, name in enumerate(names):
            subject = virtual_subject(brain, seed * 10_000 + number)
            _write_subject(folder, name, subject, points, brain.spacing)
        _write_json(folder / "VIRTUAL_dataset.json", brain, names[:num_training], names[num_training:])
    return target


def _random_velocity(brain: Tensor, generator: torch.Generator) -> Tensor:
    """A smooth velocity `(1, 3, X, Y, Z)`, voxels, for a mask of the brain `(X, Y, Z)`."""
    size = np.array(brain.shape)
    velocity = np.zeros((3, *brain.shape))
    for scale, weight in _SCALES:
        for axis in range(3):
            noise = torch.randn(brain.shape, generator=generator).numpy()
            smooth = gaussian_filter(noise, scale * size.mean(), mode="nearest")
            velocity[axis] += weight * smooth / smooth.std()
    velocity *= _window(brain.shape)
    lengths = np.linalg.norm(velocity, axis=0)[brain.numpy()]
    velocity *= _AMPLITUDE * size.mean() / lengths.mean()
    return torch.from_numpy(velocity).float()[None]


def _window(size: Sequence[int]) -> NDArray[np.float64]:
    """A smooth window `(X, Y, Z)`: 1 inside, 0 at the faces."""
    ramps = []
    for n in size:
        position = np.arange(n) / (n - 1)
        ramps.append(np.sin(np.pi / 2 * np.clip(np.minimum(position, 1 - position) / _MARGIN, 0, 1)) ** 2)
    return np.einsum("i,j,k->ijk", *ramps)


def _warp_labels(labels: Tensor, field: Tensor) -> Tensor:
    """Warp a label map by the largest linear weight of all labels, for smoother borders than with `nearest`."""
    warped = torch.zeros_like(labels)
    best = torch.zeros_like(labels, dtype=torch.float32)
    for value in torch.unique(labels).tolist():
        weight = warp((labels == value).float(), field)
        warped[weight > best] = value
        best = torch.maximum(best, weight)
    return warped


def _random_offsets(anatomy: Anatomy, generator: torch.Generator) -> Tensor:
    """Intensities of the anatomy `(X, Y, Z)` with a small random offset for each label."""
    offsets = 0.04 * torch.randn(int(anatomy.labels.max()) + 1, generator=generator)
    # Smoothed, so that there are no edges between two labels of the same tissue.
    smooth = torch.from_numpy(gaussian_filter(offsets[anatomy.labels.long()].numpy(), 1.5))
    return (anatomy.intensities + smooth) * (anatomy.labels > 0)


def _bias_field(size: torch.Size, generator: torch.Generator) -> Tensor:
    """A smooth bias field around 1, `(1, 1, X, Y, Z)`."""
    coarse = torch.randn((1, 1, 3, 3, 3), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=list(size), mode="trilinear", align_corners=True)
    return torch.exp(0.08 * smooth)


def _write_subject(folder: Path, name: str, subject: VirtualSubject, points: Tensor, spacing: float) -> None:
    size = np.array(subject.image.shape[2:])
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (size - 1) / 2.0
    volumes = {"imagesTr": (subject.image * 255).round(), "labelsTr": subject.labels}
    for kind, volume in volumes.items():
        save_image(folder / kind / f"{name}.nii.gz", volume[0, 0].numpy().astype(np.uint8), affine)
    rows = subject_points(subject.velocity, points).numpy()
    np.savetxt(folder / "keypointsTr" / f"{name}.csv", rows, delimiter=",", fmt="%.4f")


def _write_json(file: Path, anatomy: Anatomy, training: list[str], validation: list[str]) -> None:
    following = validation[1:] + validation[:1]
    content = {
        "name": "VIRTUAL",
        "description": "Virtual people: one anatomy, deformed by random diffeomorphisms",
        "tensorImageSize": "3D",
        "tensorImageShape": list(anatomy.labels.shape),
        "modality": {"0": "MR"},
        "labels": {"0": "background", **{str(value): name for value, name in anatomy.names.items()}},
        "numTraining": len(training),
        "training": [
            {
                "image": f"./imagesTr/{name}.nii.gz",
                "label": f"./labelsTr/{name}.nii.gz",
                "keypoints": f"./keypointsTr/{name}.csv",
            }
            for name in training
        ],
        "registration_val": [
            {"fixed": f"./imagesTr/{fixed}.nii.gz", "moving": f"./imagesTr/{moving}.nii.gz"}
            for fixed, moving in zip(validation, following, strict=True)
        ],
    }
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
