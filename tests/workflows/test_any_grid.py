# SPDX-License-Identifier: Apache-2.0
"""Scans of any size, spacing, orientation and type: the results lie where they should, and other tools agree."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.affines import from_matvec
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from scripts.geometry.transforms import Affine
from scripts.io.field_formats import read_transform
from scripts.io.itk import save_affine
from tests.workflows.places import MOTION, all_places, head_places, itk_places

OBLIQUE = Rotation.from_euler("xyz", [8, -12, 20], degrees=True).as_matrix()
SLOPE, INTER = 0.5, 20.0
# What the networks see: heads that overlap but differ.
SMALL_MOTION = from_matvec(Rotation.from_euler("xyz", [8, -6, 10], degrees=True).as_matrix(), [3, -4, 2])

# Axes, voxel size, rotation and type, of the fixed and of the moving scan.
PAIRS: dict[str, tuple[tuple, tuple]] = {
    "RAS, LAS": (("RAS", (2, 2, 2), None, "float32"), ("LAS", (1.5, 2, 2.5), None, "uint8")),
    "LPS, oblique": (("LPS", (2, 1.7, 2.2), None, "int16"), ("RAS", (2, 2, 2), OBLIQUE, "float32")),
    "oblique, RAS of 5 mm": (("PIR", (1.5, 2, 2.5), OBLIQUE, "float32"), ("RAS", (2, 2, 5), None, "int16")),
    "5 mm, 0.7 mm": (("LAS", (5, 1.5, 2), None, "scaled"), ("ASL", (2, 2, 0.7), OBLIQUE.T, "scaled")),
}


class Registered(NamedTuple):
    """A registration that moves things, and its files."""

    fixed: Path
    moving: Path
    out: Path
    metrics: dict[str, Any]


def save(path: Path, array: NDArray, affine: NDArray, kind: str) -> Path:
    """As the type that is asked for; `scaled` is int16 with scl_slope and scl_inter."""
    if kind == "scaled":
        image = nib.Nifti1Image(((array - INTER) / SLOPE).round().astype(np.int16), affine)
        image.header.set_slope_inter(SLOPE, INTER)
    else:
        values = array / 4 if kind == "uint8" else array
        image = nib.Nifti1Image(values.astype(kind), affine)
    nib.save(image, path)
    return path


@pytest.fixture(scope="module", params=PAIRS)
def registered(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    scan_of: Callable,
    grid_of: Callable,
    register: Callable,
) -> Registered:
    folder = tmp_path_factory.mktemp("pair")
    paths = []
    for name, motion, (*place, kind) in zip("FM", (None, SMALL_MOTION), PAIRS[request.param], strict=True):
        paths.append(save(folder / f"{name}.nii.gz", *scan_of(grid_of(*place), motion), kind))
    return Registered(*paths, folder / "out", register(*paths, folder / "out"))


def rounding(moved: nib.Nifti1Image) -> float:
    """Half a step of the type that it is stored as."""
    return 0.0 if moved.get_data_dtype().kind == "f" else 0.5 * moved.dataobj.slope


def test_results_lie_on_the_grids_of_the_files(registered: Registered) -> None:
    fixed, moving = nib.load(registered.fixed), nib.load(registered.moving)
    for name, shape, like in (
        ("moved.nii.gz", fixed.shape, fixed),
        ("quality.nii.gz", fixed.shape, fixed),
        ("warp.nii.gz", (*fixed.shape, 1, 3), fixed),
        ("inverse_warp.nii.gz", (*moving.shape, 1, 3), moving),
    ):
        image = nib.load(registered.out / name)
        assert image.shape == shape
        np.testing.assert_allclose(image.affine, like.affine, atol=1e-5)
        np.testing.assert_allclose(image.get_qform(), like.affine, atol=1e-4)


def test_moved_image_is_stored_as_the_moving_one(registered: Registered) -> None:
    moved, moving = (nib.load(path) for path in (registered.out / "moved.nii.gz", registered.moving))
    assert moved.get_data_dtype() == moving.get_data_dtype()
    scale = [(image.dataobj.slope, image.dataobj.inter) for image in (moved, moving)]
    assert scale[0] == scale[1]
    ours, theirs = moved.get_fdata(), moving.get_fdata()
    assert theirs.min() <= ours.min() and ours.max() <= theirs.max()
    assert ours.max() > 0.8 * theirs.max()


def test_moved_image_was_interpolated_once(registered: Registered) -> None:
    """As SciPy does it in float64, at T(x) of every voxel."""
    moving = nib.load(registered.moving)
    ends = read_transform(registered.out / "warp.nii.gz")(all_places(registered.fixed))
    voxels = Affine(np.linalg.inv(moving.affine))(ends)
    direct = map_coordinates(moving.get_fdata(), voxels.T, order=1, mode="nearest")
    known = ((voxels >= -0.5) & (voxels <= np.array(moving.shape) - 0.5)).all(axis=1)
    moved = nib.load(registered.out / "moved.nii.gz")
    assert known.mean() > 0.5
    error = np.abs(moved.get_fdata().ravel() - np.where(known, direct, 0.0))
    # What is known ends half a voxel beyond the outer voxels' centers; rounding decides on which side of that it is.
    center, reach = (np.array(moving.shape) - 1) / 2, np.array(moving.shape) / 2
    undecided = (np.abs(np.abs(voxels - center) - reach) < 1e-3).any(axis=1)
    assert error[~undecided].max() < rounding(moved) + 0.02  # of about 1000


def test_inverse_undoes_the_warp(registered: Registered) -> None:
    there, back = (read_transform(registered.out / name) for name in ("warp.nii.gz", "inverse_warp.nii.gz"))
    points = head_places(registered.fixed)
    assert np.linalg.norm(there(points) - points, axis=1).mean() > 1.0
    kept = nib.load(registered.moving)
    voxels = Affine(np.linalg.inv(kept.affine))(there(points))
    known = ((voxels >= 0) & (voxels <= np.array(kept.shape) - 1)).all(axis=1)
    error = np.linalg.norm(back(there(points)) - points, axis=1)
    assert known.mean() > 0.9
    # Between voxels a field is linear, which is further from the truth the further they are apart.
    assert error[known].max() < (0.5 if nib.affines.voxel_sizes(kept.affine).max() < 3 else 1.0)

    shift = np.random.default_rng(0).uniform(-0.5, 0.5, points.shape) @ nib.load(registered.fixed).affine[:3, :3].T
    between = np.linalg.norm(back(there(points + shift)) - points - shift, axis=1)
    assert registered.metrics["inverse_consistency_mean_mm"] == pytest.approx(between.mean(), rel=0.5)


def test_metrics_tell_of_both_files(registered: Registered) -> None:
    for role in ("fixed", "moving"):
        image, facts = nib.load(getattr(registered, role)), registered.metrics[role]
        assert facts["size"] == list(image.shape)
        assert facts["dtype"] == str(image.get_data_dtype())
        assert facts["orientation"] == "".join(nib.aff2axcodes(image.affine))
        np.testing.assert_allclose(facts["spacing_mm"], nib.affines.voxel_sizes(image.affine), atol=1e-5)


# --- other tools ------------------------------------------------------------------------------------------------------


def test_simpleitk_reproduces_the_moved_image(registered: Registered) -> None:
    field = sitk.ReadImage(str(registered.out / "warp.nii.gz"), sitk.sitkVectorFloat64)
    fixed, moving = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (registered.fixed, registered.moving))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, sitk.DisplacementFieldTransform(field))).T
    moved = nib.load(registered.out / "moved.nii.gz")
    ours, still = moved.get_fdata(), sitk.GetArrayFromImage(sitk.Resample(moving, fixed)).T
    head = nib.load(registered.fixed).get_fdata() > 50
    assert np.abs(ours - theirs)[head].max() < rounding(moved) + 0.1
    assert np.abs(ours - still)[head].mean() > 0.02 * ours.max()


def test_ants_reproduces_the_moved_image(register: Callable, moved_pair: Callable, tmp_path: Path) -> None:
    ants = pytest.importorskip("ants")
    pair, out = moved_pair(SMALL_MOTION), tmp_path / "out"
    register(*pair, out)
    fixed, moving = (ants.image_read(str(path)) for path in pair)
    theirs = ants.apply_transforms(fixed, moving, [str(out / "warp.nii.gz")], interpolator="linear").numpy()
    ours, head = nib.load(out / "moved.nii.gz").get_fdata(), fixed.numpy() > 50
    assert np.abs(ours - theirs)[head].max() < 0.1


def test_all_files_hold_one_transform(register: Callable, moved_pair: Callable, tmp_path: Path) -> None:
    """The fused field, the composite, and the affine with the field of the composite; the composite as ITK reads it."""
    pair, out = moved_pair(SMALL_MOTION @ MOTION), tmp_path / "out"
    save_affine(tmp_path / "start.mat", MOTION)
    register(*pair, out, init=str(tmp_path / "start.mat"), composite=True)
    points = head_places(pair[0])[::5]
    fused = read_transform(out / "warp.nii.gz")(points)
    assert np.linalg.norm(fused - Affine(MOTION)(points), axis=1).mean() > 1.0

    composite = sitk.ReadTransform(str(out / "transform.h5"))
    np.testing.assert_allclose(itk_places(composite, points), fused, atol=1e-3)
    affine = sitk.ReadTransform(str(out / "affine.mat"))
    np.testing.assert_allclose(itk_places(affine, points), Affine(MOTION)(points), atol=1e-4)
    parts = sitk.CompositeTransform(composite)
    deformable = parts.GetNthTransform(parts.GetNumberOfTransforms() - 1)
    np.testing.assert_allclose(itk_places(affine, itk_places(deformable, points)), fused, atol=1e-3)
