# SPDX-License-Identifier: Apache-2.0
"""Where a registration starts: the affine alignment, none, or a file."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.affines import from_matvec
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scripts.geometry.transforms import Affine
from scripts.io.field_formats import read_transform
from scripts.io.itk import save_affine
from tests.workflows.places import HEAD, MOTION, head_places


def mean_difference(fixed: Path, moved: Path) -> float:
    """Within the head, whose values are up to about 1000."""
    images = [nib.load(path).get_fdata() for path in (fixed, moved)]
    return float(np.abs(images[0] - images[1])[images[0] > 50].mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "motion",
    [MOTION, from_matvec(Rotation.from_euler("x", 90, degrees=True).as_matrix(), [0, 30, -20])],
    ids=["affine", "header turned by 90 degrees"],
)
def test_known_motion_is_found_within_a_millimeter(
    register: Callable, fresh_weights: Path, moved_pair: Callable, tmp_path: Path, motion: NDArray
) -> None:
    fixed, moving = moved_pair(motion, HEAD)
    register(fixed, moving, tmp_path / "out", init="affine", weights=fresh_weights)
    places = head_places(fixed)
    found = read_transform(tmp_path / "out" / "warp.nii.gz")(places)
    assert np.linalg.norm(found - Affine(motion)(places), axis=1).max() < 1.0
    assert mean_difference(fixed, tmp_path / "out" / "moved.nii.gz") < 30


def test_rigid_start_is_a_rotation(register: Callable, moved_pair: Callable, tmp_path: Path) -> None:
    metrics = register(*moved_pair(MOTION), tmp_path / "out", init="rigid")
    linear = np.array(metrics["affine"]["matrix"])[:3, :3]
    np.testing.assert_allclose(linear @ linear.T, np.eye(3), atol=1e-9)
    assert metrics["affine"]["rotation_degrees"] > 3
    assert metrics["settings"]["init"] == "rigid"


def test_no_start_leaves_the_scans_where_they_are(register: Callable, moved_pair: Callable, tmp_path: Path) -> None:
    metrics = register(*moved_pair(np.eye(4)), tmp_path / "out", init="none")
    assert metrics["affine"]["matrix"] == np.eye(4).tolist()


@pytest.mark.parametrize("ending", [".mat", ".tfm"])
def test_start_of_a_file_is_taken_as_it_is(
    register: Callable, fresh_weights: Path, moved_pair: Callable, tmp_path: Path, ending: str
) -> None:
    (fixed, moving), file = moved_pair(MOTION), tmp_path / f"start{ending}"
    if ending == ".mat":
        save_affine(file, MOTION)
    else:
        lps = np.diag([-1.0, -1, 1, 1]) @ MOTION @ np.diag([-1.0, -1, 1, 1])
        sitk.WriteTransform(sitk.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist()), str(file))
    metrics = register(fixed, moving, tmp_path / "out", init=str(file), weights=fresh_weights)
    np.testing.assert_allclose(metrics["affine"]["matrix"], MOTION, atol=1e-6)
    assert mean_difference(fixed, tmp_path / "out" / "moved.nii.gz") < 20


def test_start_of_another_kind_is_refused(
    register: Callable, refused: Callable, moved_pair: Callable, tmp_path: Path
) -> None:
    pair = moved_pair(np.eye(4))
    with refused("similarity", "affine, rigid, none or an ITK transform file"):
        register(*pair, tmp_path / "out", init="similarity")
    register(*pair, tmp_path / "first")
    with refused("warp.nii.gz", "more than an affine map"):
        register(*pair, tmp_path / "out", init=str(tmp_path / "first" / "warp.nii.gz"))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def with_a_bag(moved_pair: Callable) -> tuple[Path, Path, Path]:
    """A head, a moved head with something large and bright beside it, and the mask that leaves this out."""
    fixed, moving = moved_pair(MOTION, HEAD)
    image = nib.load(moving)
    array = np.pad(image.get_fdata(), ((0, 20), (0, 0), (0, 0)))
    head = array > 0
    array[-16:, 5:-5, 4:-4] = 900
    nib.save(nib.Nifti1Image(array.astype(np.float32), image.affine), moving)
    mask = moving.with_name("mask.nii.gz")
    nib.save(nib.Nifti1Image(head.astype(np.uint8), image.affine), mask)
    return fixed, moving, mask


@pytest.mark.slow
def test_what_a_mask_leaves_out_does_not_count(
    register: Callable, fresh_weights: Path, with_a_bag: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    fixed, moving, mask = with_a_bag
    places, errors = head_places(fixed), []
    for name, extra in (("all", {}), ("masked", {"moving_mask": mask})):
        metrics = register(fixed, moving, tmp_path / name, init="affine", weights=fresh_weights, **extra)
        found = Affine(np.array(metrics["affine"]["matrix"]))(places)
        errors.append(np.linalg.norm(found - Affine(MOTION)(places), axis=1).max())
    assert errors[1] < 1.5
    assert errors[0] > 3 * errors[1]


@pytest.mark.slow
def test_same_seed_gives_the_same_result(register: Callable, moved_pair: Callable, tmp_path: Path) -> None:
    pair = moved_pair(MOTION)
    results = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        register(*pair, tmp_path / name, init="rigid", seed=seed)
        results.append((tmp_path / name / "warp.nii.gz").read_bytes())
        settings = json.loads((tmp_path / name / "metrics.json").read_text())["settings"]
        assert settings["seed"] == seed
    assert results[0] == results[1] != results[2]
