# SPDX-License-Identifier: Apache-2.0
"""SimpleITK, ANTs and greedy apply what we write as we do, and what they write we read."""

from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from scripts.geometry import Affine, Chain, Field, Grid, Transform, as_field
from scripts.io import read_transform, save_affine, save_composite, write_transform
from tests.io.case import IMAGES_TO_MOVE, LPS, Case, assert_same


@pytest.fixture
def ants() -> ModuleType:
    return pytest.importorskip("ants")


@pytest.fixture
def greedy():
    return pytest.importorskip("picsl_greedy").Greedy3D()


@pytest.fixture
def case(tmp_path: Path, truth: Transform, fixed: Grid, moving: Grid) -> Case:
    return Case(tmp_path, truth, fixed, moving)


# --- SimpleITK: NIfTI field and composite -----------------------------------------------------------------------------


def read_by_sitk(kind: str, path: str) -> sitk.Transform:
    if kind == "h5":
        return sitk.ReadTransform(path)
    return sitk.DisplacementFieldTransform(sitk.ReadImage(path, sitk.sitkVectorFloat64))


@pytest.mark.parametrize("kind", ["itk", "h5"])
def test_sitk_moves_points_as_we_do(case: Case, field: Field, points: np.ndarray, kind: str) -> None:
    path = case.path("warp.h5" if kind == "h5" else "warp.nii.gz")
    write_transform(path, case.truth, kind, case.fixed)
    transform = read_by_sitk(kind, path)
    moved = [transform.TransformPoint(point) for point in (points * LPS).tolist()]
    assert_same(lambda _: np.array(moved) * LPS, field, points)


@pytest.mark.parametrize("kind", ["itk", "h5"])
def test_sitk_moves_images_as_we_do(case: Case, kind: str) -> None:
    path = case.path("warp.h5" if kind == "h5" else "warp.nii.gz")
    write_transform(path, case.truth, kind, case.fixed)
    transform = read_by_sitk(kind, path)
    for name in IMAGES_TO_MOVE:
        image = sitk.ReadImage(case.path(f"{name}.nii.gz"))
        moved = sitk.Resample(image, sitk.ReadImage(case.path("fixed.nii.gz")), transform, sitk.sitkLinear, -1e3)
        case.check(name, sitk.GetArrayFromImage(moved).transpose(2, 1, 0))


def test_sitk_applies_a_composite_as_we_do(
    case: Case, matrix: np.ndarray, residual: Transform, points: np.ndarray
) -> None:
    field = as_field(residual, case.fixed)
    save_composite(case.path("transform.h5"), matrix, field)
    transform = sitk.ReadTransform(case.path("transform.h5"))
    moved = np.array([transform.TransformPoint(point) for point in (points * LPS).tolist()]) * LPS
    assert_same(lambda _: moved, Chain([Affine(matrix), field]), points)


@pytest.mark.parametrize("name", ["warp.nii.gz", "warp.h5"])
def test_we_read_what_sitk_writes(case: Case, field: Field, points: np.ndarray, name: str) -> None:
    image = sitk.GetImageFromArray((field.displacement * LPS).transpose(2, 1, 0, 3), isVector=True)
    image.CopyInformation(sitk.ReadImage(case.path("fixed.nii.gz")))
    if name.endswith(".h5"):
        transform = sitk.DisplacementFieldTransform(sitk.Cast(image, sitk.sitkVectorFloat64))
        sitk.WriteTransform(transform, case.path(name))
    else:
        sitk.WriteImage(image, case.path(name))
    assert_same(read_transform(case.path(name)), field, points)


def test_chain_has_the_order_of_sitk_composites(matrix: np.ndarray, field: Field, points: np.ndarray) -> None:
    turn = sitk.Euler3DTransform((1, 2, 3), 0.3, -0.2, 0.1, (4, 5, 6))
    scale = sitk.ScaleTransform(3, (1.1, 0.9, 1.2))
    composite = sitk.CompositeTransform([turn, scale])

    def ours(itk: sitk.Transform):
        return lambda x: np.array([itk.TransformPoint(p) for p in (x * LPS).tolist()]) * LPS

    np.testing.assert_allclose(Chain([ours(turn), ours(scale)])(points), ours(composite)(points), atol=1e-9)


# --- ANTs -------------------------------------------------------------------------------------------------------------


def ants_points(ants: ModuleType, points: np.ndarray, transforms: list[str]) -> np.ndarray:
    frame = __import__("pandas").DataFrame(points * LPS, columns=["x", "y", "z"])
    return ants.apply_transforms_to_points(3, frame, transforms).to_numpy()[:, :3] * LPS


@pytest.mark.parametrize("kind", ["itk", "h5"])
def test_ants_moves_images_as_we_do(ants: ModuleType, case: Case, kind: str) -> None:
    path = case.path("warp.h5" if kind == "h5" else "warp.nii.gz")
    write_transform(path, case.truth, kind, case.fixed)
    fixed = ants.image_read(case.path("fixed.nii.gz"))
    for name in IMAGES_TO_MOVE:
        moved = ants.apply_transforms(fixed, ants.image_read(case.path(f"{name}.nii.gz")), [path])
        case.check(name, moved.numpy())


def test_ants_moves_points_as_we_do(ants: ModuleType, case: Case, field: Field, points: np.ndarray) -> None:
    path = case.path("warp.nii.gz")
    write_transform(path, case.truth, "itk", case.fixed)
    assert_same(lambda _: ants_points(ants, points, [path]), field, points)


def test_ants_takes_field_and_affine_in_our_order(
    ants: ModuleType, case: Case, matrix: np.ndarray, residual: Transform, points: np.ndarray
) -> None:
    field = as_field(residual, case.fixed)
    write_transform(case.path("warp.nii.gz"), residual, "itk", case.fixed)
    save_affine(case.path("affine.mat"), matrix)
    # -t warp -t affine: the first one meets the fixed point first, so a chain lists them the other way round.
    moved = ants_points(ants, points, [case.path("warp.nii.gz"), case.path("affine.mat")])
    assert_same(lambda _: moved, Chain([Affine(matrix), field]), points)


def test_we_read_what_ants_composes(
    ants: ModuleType, case: Case, matrix: np.ndarray, residual: Transform, points: np.ndarray
) -> None:
    write_transform(case.path("warp.nii.gz"), residual, "itk", case.fixed)
    save_affine(case.path("affine.mat"), matrix)
    images = [ants.image_read(case.path(name)) for name in ("fixed.nii.gz", "moving.nii.gz")]
    transforms = [case.path("warp.nii.gz"), case.path("affine.mat")]
    composed = ants.apply_transforms(*images, transforms, compose=case.path("composed"))
    assert_same(read_transform(composed), as_field(case.truth, case.fixed), points)


def test_we_read_what_ants_writes(
    ants: ModuleType, case: Case, field: Field, matrix: np.ndarray, points: np.ndarray
) -> None:
    fixed = ants.image_read(case.path("fixed.nii.gz"))
    vectors = ants.from_numpy(
        field.displacement * LPS.astype(np.float32),
        fixed.origin,
        fixed.spacing,
        fixed.direction,
        has_components=True,
    )
    ants.image_write(vectors, case.path("warp.nii.gz"))
    assert_same(read_transform(case.path("warp.nii.gz")), field, points)

    ras = np.diag([*LPS, 1.0])
    lps = ras @ matrix @ ras
    affine = ants.create_ants_transform(
        transform_type="AffineTransform", precision="double", matrix=lps[:3, :3], offset=lps[:3, 3]
    )
    ants.write_transform(affine, case.path("affine.mat"))
    assert_same(read_transform(case.path("affine.mat")), Affine(matrix), points)


# --- greedy -----------------------------------------------------------------------------------------------------------


def test_greedy_moves_images_as_we_do(greedy: Any, case: Case) -> None:
    write_transform(case.path("warp.nii.gz"), case.truth, "itk", case.fixed)
    for name in IMAGES_TO_MOVE:
        greedy.execute(
            f"-d 3 -rf {case.path('fixed.nii.gz')} -rm {case.path(name + '.nii.gz')} {case.path('moved.nii.gz')} "
            f"-ri LINEAR -r {case.path('warp.nii.gz')}",
            out=StringIO(),
            err=StringIO(),
        )
        case.check(name, nib.load(case.path("moved.nii.gz")).get_fdata())


def test_we_read_what_greedy_composes(
    greedy: Any, case: Case, matrix: np.ndarray, residual: Transform, points: np.ndarray
) -> None:
    """Greedy's own affines are text, 4x4, RAS."""
    write_transform(case.path("warp.nii.gz"), residual, "itk", case.fixed)
    np.savetxt(case.path("affine.mat"), matrix)
    greedy.execute(
        f"-d 3 -rf {case.path('fixed.nii.gz')} -rc {case.path('composed.nii.gz')} "
        f"-r {case.path('warp.nii.gz')} {case.path('affine.mat')}",
        out=StringIO(),
        err=StringIO(),
    )
    expected = as_field(case.truth, case.fixed)
    assert_same(read_transform(case.path("composed.nii.gz")), expected, points)
