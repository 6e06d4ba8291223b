# SPDX-License-Identifier: Apache-2.0
"""Real brains of different size are aligned as well as those of the same size."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scripts.datasets.intensity import scale_intensity
from scripts.geometry.alignment import align
from scripts.geometry.grid import Grid
from scripts.geometry.resample import resample
from scripts.geometry.transforms import Affine

OASIS = {
    name: (f"oasis35/imagesTr/OASIS_{name}_0000.nii.gz", f"oasis35/labelsTr/OASIS_{name}_0000.nii.gz")
    for name in ("1003", "1128")
}
CROPPED = {name: (f"raw/{name}_T1.nii.gz", f"raw/{name}_labels.nii.gz") for name in ("1010", "1101")}
HEADS = {name: (f"aomic/sub-000{name}/T1.mgz", f"aomic/sub-000{name}/aparc+aseg.mgz") for name in "12"}
INFANTS = {
    name: (f"contrasts/infants/{name}_T1w.nii.gz", f"contrasts/infants/{name}_label.nii.gz") for name in ("T02",)
}
ADULT = ("aomic/sub-0001/norm.mgz", "aomic/sub-0001/aparc+aseg.mgz")

# Fixed and moving scan with labels, factor and rotation (degrees) of the moving one, and the mean Dice that the affine
# reaches without both: 0.01 less is right.
PAIRS = {
    "larger template": (OASIS["1003"], OASIS["1128"], 1.25, (0, 0, 0), 0.359),
    "small and turned": (CROPPED["1010"], CROPPED["1101"], 0.6, (0, 20, -100), 0.442),
    "whole heads": (HEADS["1"], HEADS["2"], 1.5, (15, -10, 20), 0.452),
    "adult to infant": (INFANTS["T02"], ADULT, 1.0, (180, 10, 0), 0.481),
}


def read(path: Path) -> tuple[NDArray, NDArray]:
    image = nib.load(path)
    return np.asarray(image.dataobj).squeeze(), image.affine


def mean_dice(fixed: NDArray, moved: NDArray, moving: NDArray) -> float:
    """Over the labels of both."""
    size = int(max(fixed.max(), moving.max())) + 1
    first, second, common, there = (
        np.bincount(array.ravel().astype(np.int64), minlength=size)
        for array in (fixed, moved, fixed[fixed == moved], moving)
    )
    both = (first > 0) & (there > 0)
    both[0] = False
    return float((2 * common[both] / (first + second)[both]).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_real_brains_of_other_sizes_are_aligned(shared_data: Path, name: str) -> None:
    fixed, moving, factor, degrees, dice = PAIRS[name]
    change = from_matvec(factor * Rotation.from_euler("xyz", degrees, degrees=True).as_matrix(), [10, -20, 5])
    scans = [read(shared_data / files[0]) for files in (fixed, moving)]
    images = [scale_intensity(array, None) for array, _ in scans]
    matrix = align(images[0], scans[0][1], images[1], change @ scans[1][1])
    labels = [read(shared_data / files[1]) for files in (fixed, moving)]
    grid = Grid(labels[0][0].shape, labels[0][1])
    moved = resample(labels[1][0].astype(np.int32), change @ labels[1][1], grid, Affine(matrix), "nearest")
    found = mean_dice(labels[0][0], moved, labels[1][0])
    assert found > dice - 0.01


@pytest.mark.slow
def test_skull_is_not_taken_for_a_larger_brain(shared_data: Path) -> None:
    """The brain and the head of one person lie where they lie; the head's foreground is 1.27 times as large."""
    images = [read(shared_data / "aomic/sub-0001" / name) for name in ("norm.mgz", "T1.mgz")]
    brain, head = ((scale_intensity(array, None), affine) for array, affine in images)
    places = Affine(brain[1])(np.argwhere(brain[0] > 0.1)[::101].astype(float))
    error = np.linalg.norm(Affine(align(*brain, *head))(places) - places, axis=1)
    assert error.mean() < 1.0
