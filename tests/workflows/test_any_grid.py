"""Scans of any size, spacing, orientation and type: the results lie where they should, and other tools agree."""

import json
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

from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Affine
from scripts.io.field_formats import read_transform
from scripts.io.itk import save_affine
from scripts.registration.pair import ImageSources, Job
from scripts.registration.steps import align_pair, read_pair

OBLIQUE = Rotation.from_euler("xyz", [8, -12, 20], degrees=True).as_matrix()
SLOPE, INTER = 0.5, 20.0
MOTION = from_matvec(
    Rotation.from_euler("xyz", [8, -6, 10], degrees=True).as_matrix() @ np.diag([1.06, 0.96, 1.03]), [9, -14, 6]
)
HEAD = 3.0  # times the phantom: the size of a head, which the affine alignment is made for

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
    head: Callable,
    grid_of: Callable,
    register: Callable,
) -> Registered:
    folder = tmp_path_factory.mktemp("pair")
    paths = []
    for name, (*place, kind) in zip("FM", PAIRS[request.param], strict=True):
        grid = grid_of(*place)
        paths.append(save(folder / f"{name}.nii.gz", head(grid), grid.affine, kind))
    return Registered(*paths, folder / "out", register(*paths, folder / "out"))


def places(path: Path) -> NDArray[np.float64]:
    """RAS mm of all voxels, `(N, 3)`, in the array's order."""
    image = nib.load(path)
    return Affine(image.affine)(np.argwhere(np.ones(image.shape[:3])).astype(np.float64))


def inside(path: Path) -> NDArray[np.float64]:
    """RAS mm of the head's voxels, `(N, 3)`."""
    image = nib.load(path)
    return Affine(image.affine)(np.argwhere(image.get_fdata() > 50).astype(np.float64))


def itk_points(transform: sitk.Transform, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """What ITK, whose world is LPS, makes of points in RAS mm."""
    flip = np.array([-1.0, -1.0, 1.0])
    return np.array([transform.TransformPoint(point) for point in (points * flip).tolist()]) * flip


# --- results on all kinds of grids ------------------------------------------------------------------------------------


def test_results_lie_on_the_grids_of_the_files(registered: Registered) -> None:
    fixed, moving = nib.load(registered.fixed), nib.load(registered.moving)
    for name, shape, like in (
        ("moved.nii.gz", fixed.shape, fixed),
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
    ends = read_transform(registered.out / "warp.nii.gz")(places(registered.fixed))
    voxels = Affine(np.linalg.inv(moving.affine))(ends)
    direct = map_coordinates(moving.get_fdata(), voxels.T, order=1, mode="nearest")
    known = ((voxels >= -0.5) & (voxels <= np.array(moving.shape) - 0.5)).all(axis=1)
    moved = nib.load(registered.out / "moved.nii.gz")
    rounding = 0.0 if moved.get_data_dtype().kind == "f" else 0.5 * moved.dataobj.slope
    assert known.mean() > 0.5
    error = np.abs(moved.get_fdata().ravel() - np.where(known, direct, 0.0))
    near_the_end = (np.abs(np.abs(voxels - (np.array(moving.shape) - 1) / 2) - np.array(moving.shape) / 2) < 1e-3).any(
        1
    )
    assert error[~near_the_end].max() < rounding + 0.02  # of about 1000


def test_simpleitk_reproduces_the_moved_image(registered: Registered) -> None:
    field = sitk.ReadImage(str(registered.out / "warp.nii.gz"), sitk.sitkVectorFloat64)
    fixed, moving = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (registered.fixed, registered.moving))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, sitk.DisplacementFieldTransform(field))).T
    moved = nib.load(registered.out / "moved.nii.gz")
    ours, still = moved.get_fdata(), sitk.GetArrayFromImage(sitk.Resample(moving, fixed)).T
    head = nib.load(registered.fixed).get_fdata() > 50
    rounding = 0.0 if moved.get_data_dtype().kind == "f" else 0.5 * moved.dataobj.slope
    assert np.abs(ours - theirs)[head].max() < rounding + 0.1
    assert np.abs(ours - still)[head].mean() > 20


def test_inverse_undoes_the_warp(registered: Registered) -> None:
    there, back = (read_transform(registered.out / name) for name in ("warp.nii.gz", "inverse_warp.nii.gz"))
    points = inside(registered.fixed)
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


# --- the affine -------------------------------------------------------------------------------------------------------


class Moved(NamedTuple):
    """The head, and a second scan of it after a known motion; the files are the float ones."""

    fixed: Path
    moving: Path


@pytest.fixture
def scans(tmp_path: Path, head: Callable, grid_of: Callable) -> Callable[..., Moved]:
    """`scans(motion, HEAD)`: a point x of the fixed scan is at `motion x` in the moving one; larger heads."""

    def make(motion: NDArray[np.float64], size: float = 1.0) -> Moved:
        shrink = np.diag([1 / size, 1 / size, 1 / size, 1.0])
        paths = []
        for name, place, back in (("F", ("RAS",), np.eye(4)), ("M", ("LAS", (1.5, 2, 2.5)), np.linalg.inv(motion))):
            grid = grid_of(*place)
            affine = np.linalg.inv(shrink) @ grid.affine
            affine[:3, 3] += np.linalg.inv(back)[:3, 3]
            array = head(Grid(grid.shape, affine), Affine(shrink @ back))
            paths.append(save(tmp_path / f"{name}.nii.gz", array, affine, "float32"))
        return Moved(*paths)

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    "motion",
    [MOTION, from_matvec(Rotation.from_euler("x", 90, degrees=True).as_matrix(), [0, 30, -20])],
    ids=["affine", "header turned by 90 degrees"],
)
def test_known_motion_is_found_within_a_millimetre(
    register: Callable, fresh_weights: Path, scans: Callable, tmp_path: Path, motion: NDArray
) -> None:
    pair = scans(motion, HEAD)
    register(*pair, tmp_path / "out", init="affine", weights=fresh_weights)
    points = inside(pair.fixed)
    found = read_transform(tmp_path / "out" / "warp.nii.gz")(points)
    assert np.linalg.norm(found - Affine(motion)(points), axis=1).max() < 1.0
    fixed, moved = (nib.load(path).get_fdata() for path in (pair.fixed, tmp_path / "out" / "moved.nii.gz"))
    assert np.abs(fixed - moved)[fixed > 50].mean() < 30  # of about 1000


def test_rigid_start_is_a_rotation(register: Callable, scans: Callable, tmp_path: Path) -> None:
    metrics = register(*scans(MOTION), tmp_path / "out", init="rigid")
    linear = np.array(metrics["affine"]["matrix"])[:3, :3]
    np.testing.assert_allclose(linear @ linear.T, np.eye(3), atol=1e-9)
    assert metrics["affine"]["rotation_degrees"] > 3
    assert metrics["settings"]["init"] == "rigid"


def test_no_start_leaves_the_scans_where_they_are(register: Callable, scans: Callable, tmp_path: Path) -> None:
    metrics = register(*scans(np.eye(4)), tmp_path / "out", init="none")
    assert metrics["affine"]["matrix"] == np.eye(4).tolist()


@pytest.mark.parametrize("ending", [".mat", ".tfm"])
def test_start_of_a_file_is_taken_as_it_is(
    register: Callable, fresh_weights: Path, scans: Callable, tmp_path: Path, ending: str
) -> None:
    pair, file = scans(MOTION), tmp_path / f"start{ending}"
    if ending == ".mat":
        save_affine(file, MOTION)
    else:
        lps = np.diag([-1.0, -1, 1, 1]) @ MOTION @ np.diag([-1.0, -1, 1, 1])
        sitk.WriteTransform(sitk.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist()), str(file))
    metrics = register(*pair, tmp_path / "out", init=str(file), weights=fresh_weights)
    np.testing.assert_allclose(metrics["affine"]["matrix"], MOTION, atol=1e-6)
    fixed, moved = (nib.load(path).get_fdata() for path in (pair.fixed, tmp_path / "out" / "moved.nii.gz"))
    assert np.abs(fixed - moved)[fixed > 50].mean() < 20


def test_start_of_another_kind_is_refused(
    register: Callable, refused: Callable, scans: Callable, tmp_path: Path
) -> None:
    pair = scans(np.eye(4))
    with refused("similarity", "affine, rigid, none or an ITK transform file"):
        register(*pair, tmp_path / "out", init="similarity")
    register(*pair, tmp_path / "first")
    with refused("warp.nii.gz", "more than an affine map"):
        register(*pair, tmp_path / "out", init=str(tmp_path / "first" / "warp.nii.gz"))
    assert not (tmp_path / "out").exists()


def test_all_files_hold_one_transform(register: Callable, scans: Callable, tmp_path: Path) -> None:
    """The fused field, the composite, and the affine with the field of the composite; the composite as ITK reads it."""
    pair, out = scans(MOTION), tmp_path / "out"
    save_affine(tmp_path / "start.mat", MOTION)
    register(*pair, out, init=str(tmp_path / "start.mat"), composite=True)
    points = inside(pair.fixed)[::5]
    fused = read_transform(out / "warp.nii.gz")(points)
    assert np.linalg.norm(fused - Affine(MOTION)(points), axis=1).mean() > 1.0

    composite = sitk.ReadTransform(str(out / "transform.h5"))
    np.testing.assert_allclose(itk_points(composite, points), fused, atol=1e-3)
    affine = sitk.ReadTransform(str(out / "affine.mat"))
    np.testing.assert_allclose(itk_points(affine, points), Affine(MOTION)(points), atol=1e-4)
    parts = sitk.CompositeTransform(composite)
    deformable = parts.GetNthTransform(parts.GetNumberOfTransforms() - 1)
    np.testing.assert_allclose(itk_points(affine, itk_points(deformable, points)), fused, atol=1e-3)


def test_ants_reproduces_the_moved_image(register: Callable, scans: Callable, tmp_path: Path) -> None:
    ants = pytest.importorskip("ants")
    pair, out = scans(np.eye(4)), tmp_path / "out"
    register(*pair, out)
    fixed, moving = (ants.image_read(str(path)) for path in pair)
    theirs = ants.apply_transforms(fixed, moving, [str(out / "warp.nii.gz")], interpolator="linear").numpy()
    ours, head = nib.load(out / "moved.nii.gz").get_fdata(), fixed.numpy() > 50
    assert np.abs(ours - theirs)[head].max() < 0.1


@pytest.fixture
def with_a_bag(scans: Callable) -> tuple[Moved, Path]:
    """A moving head with something large and bright beside it, and the mask that leaves it out."""
    pair = scans(MOTION, HEAD)
    image = nib.load(pair.moving)
    array = np.pad(image.get_fdata(), ((0, 20), (0, 0), (0, 0)))
    head = array > 0
    array[-16:, 5:-5, 4:-4] = 900
    nib.save(nib.Nifti1Image(array.astype(np.float32), image.affine), pair.moving)
    mask = pair.moving.with_name("mask.nii.gz")
    nib.save(nib.Nifti1Image(head.astype(np.uint8), image.affine), mask)
    return pair, mask


@pytest.mark.slow
def test_what_a_mask_leaves_out_does_not_count(with_a_bag: tuple[Moved, Path]) -> None:
    pair, mask = with_a_bag
    points, errors = inside(pair.fixed), []
    for extra in ({}, {"mask": str(mask)}):
        files = ImageSources(image=str(pair.fixed)), ImageSources(image=str(pair.moving), **extra)
        loaded = read_pair(Job(name="pair", folder="", fixed=files[0], moving=files[1]))
        found = Affine(align_pair(loaded, "affine", 0).affine)(points)
        errors.append(np.linalg.norm(found - Affine(MOTION)(points), axis=1).max())
    assert errors[1] < 1.5
    assert errors[0] > 3 * errors[1]


def test_same_seed_gives_the_same_result(register: Callable, scans: Callable, tmp_path: Path) -> None:
    pair = scans(MOTION)
    results = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        register(*pair, tmp_path / name, init="rigid", seed=seed)
        results.append((tmp_path / name / "warp.nii.gz").read_bytes())
        settings = json.loads((tmp_path / name / "metrics.json").read_text())["settings"]
        assert settings["seed"] == seed
    assert results[0] == results[1] != results[2]
