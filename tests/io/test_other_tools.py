"""The same transform in the hands of other people's code: what we write they apply, and what they write we read.

Points are compared to 1e-3 mm. Tools that move no points move the three coordinates instead, as images: linear
interpolation of a linear function is exact, so each moved voxel holds the point of the moving image that landed there.
Images are random, so neighbours differ by up to 1; the tools' float32 coordinates are right to some 1e-5 voxel, which
makes 1e-4; we allow 1e-3. What ends outside an image is left out: each tool has its own rule there.
"""

from io import StringIO
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from scripts.geometry.grid import Grid
from scripts.geometry.resample import resample
from scripts.geometry.transforms import Affine, Chain, as_field
from scripts.io.field_formats import read_transform, write_transform
from scripts.io.itk import save_affine, save_composite
from scripts.io.nifti import save_image

LPS = np.array([-1.0, -1.0, 1.0])
POINTS = 1e-3  # mm
IMAGES = 1e-3


@pytest.fixture
def ants() -> ModuleType:
    return pytest.importorskip("ants")


@pytest.fixture
def surfa() -> ModuleType:
    return pytest.importorskip("surfa")


@pytest.fixture
def greedy():
    return pytest.importorskip("picsl_greedy").Greedy3D()


@pytest.fixture
def nonlinear() -> ModuleType:
    """fslpy's fields; FSL itself is not needed."""
    return pytest.importorskip("fsl.transform.nonlinear")


def voxel_positions(grid: Grid) -> np.ndarray:
    """`(X, Y, Z, 3)`, RAS mm."""
    index = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3)
    return Affine(grid.affine)(index.astype(float)).reshape(*grid.shape, 3)


class Case:
    """Files of one pair of grids, and what is to come out."""

    def __init__(self, folder: Path, truth, fixed: Grid, moving: Grid) -> None:
        self.folder, self.truth, self.fixed, self.moving = folder, truth, fixed, moving
        self.image = np.random.default_rng(0).random(moving.shape).astype(np.float32)
        save_image(folder / "fixed.nii.gz", np.zeros(fixed.shape, np.float32), fixed.affine)
        save_image(folder / "moving.nii.gz", self.image, moving.affine)
        for axis, values in enumerate(np.moveaxis(voxel_positions(moving), -1, 0)):
            save_image(folder / f"position{axis}.nii.gz", values.astype(np.float32), moving.affine)
        self.ends = truth(voxel_positions(fixed).reshape(-1, 3))
        voxels = Affine(np.linalg.inv(moving.affine))(self.ends)
        inside = ((voxels > 0.01) & (voxels < np.array(moving.shape) - 1.01)).all(axis=1)
        self.inside = inside.reshape(fixed.shape)
        assert 0.5 < self.inside.mean() < 1

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def check(self, name: str, moved: np.ndarray) -> None:
        """Compare what a tool made of `moving` or of a `position` with what we do."""
        if name == "moving":
            ours = resample(self.image, self.moving.affine, self.fixed, self.truth)
            assert np.abs(moved - ours)[self.inside].max() < IMAGES
            assert np.ptp(ours[self.inside]) > 0.5
        else:
            expected = self.ends[:, int(name[-1])].reshape(self.fixed.shape)
            assert np.abs(moved - expected)[self.inside].max() < POINTS


IMAGES_TO_MOVE = ("moving", "position0", "position1", "position2")


@pytest.fixture
def case(tmp_path, truth, fixed, moving) -> Case:
    return Case(tmp_path, truth, fixed, moving)


def assert_same(transform, truth, points: np.ndarray) -> None:
    found, expected = transform(points), truth(points)
    assert np.abs(found - expected).max() < POINTS
    assert np.abs(expected - points).max() > 1


# --- SimpleITK: NIfTI field and composite -----------------------------------------------------------------------------


def read_by_sitk(kind: str, path: str) -> sitk.Transform:
    if kind == "h5":
        return sitk.ReadTransform(path)
    return sitk.DisplacementFieldTransform(sitk.ReadImage(path, sitk.sitkVectorFloat64))


@pytest.mark.parametrize("kind", ["itk", "h5"])
def test_sitk_moves_points_as_we_do(case, field, points, kind):
    path = case.path("warp.h5" if kind == "h5" else "warp.nii.gz")
    write_transform(path, case.truth, kind, case.fixed)
    transform = read_by_sitk(kind, path)
    moved = [transform.TransformPoint(point) for point in (points * LPS).tolist()]
    assert_same(lambda _: np.array(moved) * LPS, field, points)


@pytest.mark.parametrize("kind", ["itk", "h5"])
def test_sitk_moves_images_as_we_do(case, kind):
    path = case.path("warp.h5" if kind == "h5" else "warp.nii.gz")
    write_transform(path, case.truth, kind, case.fixed)
    transform = read_by_sitk(kind, path)
    for name in IMAGES_TO_MOVE:
        image = sitk.ReadImage(case.path(f"{name}.nii.gz"))
        moved = sitk.Resample(image, sitk.ReadImage(case.path("fixed.nii.gz")), transform, sitk.sitkLinear, -1e3)
        case.check(name, sitk.GetArrayFromImage(moved).transpose(2, 1, 0))


def test_sitk_applies_a_composite_as_we_do(case, matrix, residual, points):
    field = as_field(residual, case.fixed)
    save_composite(case.path("transform.h5"), matrix, field)
    transform = sitk.ReadTransform(case.path("transform.h5"))
    moved = np.array([transform.TransformPoint(point) for point in (points * LPS).tolist()]) * LPS
    assert_same(lambda _: moved, Chain([Affine(matrix), field]), points)


@pytest.mark.parametrize("name", ["warp.nii.gz", "warp.h5"])
def test_we_read_what_sitk_writes(case, field, points, name):
    image = sitk.GetImageFromArray((field.displacement * LPS).transpose(2, 1, 0, 3), isVector=True)
    image.CopyInformation(sitk.ReadImage(case.path("fixed.nii.gz")))
    if name.endswith(".h5"):
        transform = sitk.DisplacementFieldTransform(sitk.Cast(image, sitk.sitkVectorFloat64))
        sitk.WriteTransform(transform, case.path(name))
    else:
        sitk.WriteImage(image, case.path(name))
    assert_same(read_transform(case.path(name)), field, points)


def test_chain_has_the_order_of_sitk_composites(matrix, field, points):
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
def test_ants_moves_images_as_we_do(ants, case, kind):
    path = case.path("warp.h5" if kind == "h5" else "warp.nii.gz")
    write_transform(path, case.truth, kind, case.fixed)
    fixed = ants.image_read(case.path("fixed.nii.gz"))
    for name in IMAGES_TO_MOVE:
        moved = ants.apply_transforms(fixed, ants.image_read(case.path(f"{name}.nii.gz")), [path])
        case.check(name, moved.numpy())


def test_ants_moves_points_as_we_do(ants, case, field, points):
    path = case.path("warp.nii.gz")
    write_transform(path, case.truth, "itk", case.fixed)
    assert_same(lambda _: ants_points(ants, points, [path]), field, points)


def test_ants_takes_field_and_affine_in_our_order(ants, case, matrix, residual, points):
    field = as_field(residual, case.fixed)
    write_transform(case.path("warp.nii.gz"), residual, "itk", case.fixed)
    save_affine(case.path("affine.mat"), matrix)
    # -t warp -t affine: the first one meets the fixed point first, so a chain lists them the other way round.
    moved = ants_points(ants, points, [case.path("warp.nii.gz"), case.path("affine.mat")])
    assert_same(lambda _: moved, Chain([Affine(matrix), field]), points)


def test_we_read_what_ants_composes(ants, case, matrix, residual, points):
    write_transform(case.path("warp.nii.gz"), residual, "itk", case.fixed)
    save_affine(case.path("affine.mat"), matrix)
    images = [ants.image_read(case.path(name)) for name in ("fixed.nii.gz", "moving.nii.gz")]
    transforms = [case.path("warp.nii.gz"), case.path("affine.mat")]
    composed = ants.apply_transforms(*images, transforms, compose=case.path("composed"))
    assert_same(read_transform(composed), as_field(case.truth, case.fixed), points)


def test_we_read_what_ants_writes(ants, case, field, matrix, points):
    fixed = ants.image_read(case.path("fixed.nii.gz"))
    vectors = ants.from_numpy(
        field.displacement * LPS.astype(np.float32), fixed.origin, fixed.spacing, fixed.direction, has_components=True
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


def test_greedy_moves_images_as_we_do(greedy, case):
    write_transform(case.path("warp.nii.gz"), case.truth, "itk", case.fixed)
    for name in IMAGES_TO_MOVE:
        greedy.execute(
            f"-d 3 -rf {case.path('fixed.nii.gz')} -rm {case.path(name + '.nii.gz')} {case.path('moved.nii.gz')} "
            f"-ri LINEAR -r {case.path('warp.nii.gz')}",
            out=StringIO(),
            err=StringIO(),
        )
        case.check(name, nib.load(case.path("moved.nii.gz")).get_fdata())


def test_we_read_what_greedy_composes(greedy, case, matrix, residual, points):
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


# --- surfa, FreeSurfer's library --------------------------------------------------------------------------------------


def test_surfa_moves_images_as_we_do(surfa, case):
    write_transform(case.path("warp.nii.gz"), case.truth, "dispvect", case.fixed)
    warp = surfa.load_warp(case.path("warp.nii.gz"))
    warp.source = surfa.load_volume(case.path("moving.nii.gz"))
    for name in IMAGES_TO_MOVE:
        case.check(name, warp.transform(surfa.load_volume(case.path(f"{name}.nii.gz"))).data)


def test_we_read_what_surfa_writes(surfa, case, field, points):
    index = np.moveaxis(np.indices(case.fixed.shape), 0, -1)
    to_voxels = Affine(np.linalg.inv(case.moving.affine))
    shift = to_voxels(case.ends).reshape(*case.fixed.shape, 3) - index
    source, target = (surfa.load_volume(case.path(f"{role}.nii.gz")) for role in ("moving", "fixed"))
    surfa.Warp(shift.astype(np.float32), source, target, format=surfa.Warp.Format.disp_crs).save(case.path("w.nii.gz"))
    assert_same(read_transform(case.path("w.nii.gz")), field, points)


# --- fslpy ------------------------------------------------------------------------------------------------------------


def test_fslpy_moves_points_as_we_do(nonlinear, case, voxel_points):
    from fsl.data.image import Image
    from fsl.transform.fnirt import readFnirt

    write_transform(case.path("warp.nii.gz"), case.truth, "fsl", case.fixed, case.moving)
    images = [Image(case.path(f"{role}.nii.gz")) for role in ("moving", "fixed")]
    warp = readFnirt(case.path("warp.nii.gz"), *images, defType="relative")
    _, points = voxel_points(0)  # fslpy does not interpolate
    assert_same(lambda x: warp.transform(x, "world", "world"), case.truth, points)


def test_fslpy_moves_images_as_we_do(nonlinear, case):
    from fsl.data.image import Image
    from fsl.transform.fnirt import readFnirt

    write_transform(case.path("warp.nii.gz"), case.truth, "fsl", case.fixed, case.moving)
    images = [Image(case.path(f"{role}.nii.gz")) for role in ("moving", "fixed")]
    warp = readFnirt(case.path("warp.nii.gz"), *images, defType="relative")
    for name in IMAGES_TO_MOVE:
        case.check(name, nonlinear.applyDeformation(Image(case.path(f"{name}.nii.gz")), warp))


def test_we_read_what_fslpy_writes(nonlinear, case, field, points):
    from fsl.data.image import Image
    from fsl.transform.fnirt import toFnirt

    source, reference = (Image(case.path(f"{role}.nii.gz")) for role in ("moving", "fixed"))
    world = nonlinear.DeformationField(
        field.displacement,
        source,
        reference,
        srcSpace="world",
        refSpace="world",
        defType="relative",
        header=nib.load(case.path("fixed.nii.gz")).header,
    )
    toFnirt(world).save(case.path("fnirt.nii.gz"))
    assert_same(read_transform(case.path("fnirt.nii.gz"), moving=case.moving), field, points)
