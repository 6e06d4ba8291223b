import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImage

from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Affine, Chain, Field, as_field
from scripts.io.field_formats import FIELD_FORMATS, read_transform, write_transform
from scripts.io.itk import save_affine, save_composite
from scripts.io.nifti import save_image
from scripts.runtime.errors import InputError

LPS = np.array([-1, -1, 1])
NIFTI_FORMATS = [kind for kind in FIELD_FORMATS if kind != "h5"]
GRID = Grid((6, 7, 8), np.diag([-2.0, 3.0, 1.5, 1.0]))


def file_name(kind: str) -> str:
    return "warp.h5" if kind == "h5" else "warp.nii.gz"


def voxel_vectors(path: Path) -> np.ndarray:
    return np.squeeze(np.asarray(nib.load(path).dataobj, dtype=np.float64))


def random_field(grid: Grid = GRID) -> Field:
    rng = np.random.default_rng(0)
    return Field(rng.normal(scale=3, size=(*grid.shape, 3)).astype(np.float32), grid.affine)


def write_nifti(path: Path, array: np.ndarray, intent: int = 0, name: str = "") -> Path:
    image = nib.Nifti1Image(array, GRID.affine)
    image.header.set_intent(intent, name=name)
    image.to_filename(path)
    return path


# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FIELD_FORMATS)
def test_what_is_written_is_read(tmp_path, kind, truth, field, fixed, moving, voxel_points):
    path = tmp_path / file_name(kind)
    write_transform(path, truth, kind, fixed, moving)
    back = read_transform(path, kind, fixed, moving)
    _, points = voxel_points(0)
    assert np.abs(back(points) - truth(points)).max() < 1e-4
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", ["itk", "dispvect", "h5", "fsl"])
def test_format_is_told_from_the_file(tmp_path, kind):
    path = tmp_path / file_name(kind)
    field = random_field()
    write_transform(path, field, kind, GRID, GRID)
    back = read_transform(path, moving=GRID)
    back = back.transforms[0] if isinstance(back, Chain) else back
    np.testing.assert_allclose(back.displacement, field.displacement, atol=1e-5)


@pytest.mark.parametrize("kind", ["learn2reg", "monai", "absolute"])
def test_format_that_the_file_does_not_tell_is_asked_for(tmp_path, kind):
    path = tmp_path / "warp.nii.gz"
    write_transform(path, random_field(), kind, GRID, GRID)
    with pytest.raises(
        InputError, match=r"warp\.nii\.gz.*intent 0.*itk, dispvect, h5, fsl, learn2reg, monai, absolute"
    ):
        read_transform(path, fixed=GRID, moving=GRID)


def test_field_on_its_own_grid_is_written_as_it_is(tmp_path):
    field = random_field()
    write_transform(tmp_path / "warp.nii.gz", field, "dispvect", GRID)
    np.testing.assert_allclose(voxel_vectors(tmp_path / "warp.nii.gz"), field.displacement, atol=1e-5)


# --- what is in the file, by FORMATS.md -------------------------------------------------------------------------------


def test_layouts_and_intents(tmp_path):
    expected = {
        "itk": ((6, 7, 8, 1, 3), 1007),
        "dispvect": ((6, 7, 8, 1, 3), 1006),
        "fsl": ((6, 7, 8, 3), 2006),
        "learn2reg": ((6, 7, 8, 3), 0),
        "monai": ((6, 7, 8, 3), 0),
        "absolute": ((6, 7, 8, 3), 0),
    }
    for kind in NIFTI_FORMATS:
        path = tmp_path / f"{kind}.nii.gz"
        write_transform(path, random_field(), kind, GRID, GRID)
        image = nib.load(path)
        assert (image.shape, int(image.header["intent_code"])) == expected[kind]
        assert image.get_data_dtype() == np.float32
        np.testing.assert_allclose(image.affine, GRID.affine)


def test_voxel_formats_hold_moving_minus_fixed_voxel(tmp_path, truth, fixed, moving, voxel_points):
    index, points = voxel_points(0)
    expected = Affine(np.linalg.inv(moving.affine))(truth(points)) - index
    for kind in ("learn2reg", "monai"):
        write_transform(tmp_path / f"{kind}.nii.gz", truth, kind, fixed, moving)
        np.testing.assert_allclose(voxel_vectors(tmp_path / f"{kind}.nii.gz")[tuple(index.T)], expected, atol=1e-4)


def test_absolute_holds_the_moving_point(tmp_path, truth, fixed, voxel_points):
    index, points = voxel_points(0)
    write_transform(tmp_path / "warp.nii.gz", truth, "absolute", fixed)
    np.testing.assert_allclose(voxel_vectors(tmp_path / "warp.nii.gz")[tuple(index.T)], truth(points), atol=1e-4)


def test_monai_field_is_what_save_image_writes(tmp_path):
    tensor = torch.randn(3, *GRID.shape)
    meta = {"filename_or_obj": "x.nii"}
    image = MetaTensor(tensor, affine=torch.from_numpy(GRID.affine), meta=meta)
    SaveImage(tmp_path, "field", ".nii", resample=False, separate_folder=False, print_log=False)(image)
    by_monai = read_transform(tmp_path / "x_field.nii", "monai", GRID, GRID)

    write_transform(tmp_path / "ours.nii", by_monai, "monai", GRID, GRID)
    ours, theirs = nib.load(tmp_path / "ours.nii"), nib.load(tmp_path / "x_field.nii")
    assert ours.shape == theirs.shape and ours.get_data_dtype() == theirs.get_data_dtype()
    assert int(ours.header["intent_code"]) == int(theirs.header["intent_code"])
    np.testing.assert_allclose(np.asarray(ours.dataobj), np.moveaxis(tensor.numpy(), 0, -1), atol=1e-5)


def test_learn2reg_takes_the_channel_first_or_last(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(*GRID.shape, 3)).astype(np.float32)
    last = write_nifti(tmp_path / "last.nii.gz", vectors)
    first = write_nifti(tmp_path / "first.nii.gz", np.moveaxis(vectors, -1, 0))
    fields = [read_transform(path, "learn2reg", GRID, GRID).displacement for path in (last, first)]
    np.testing.assert_array_equal(*fields)
    np.testing.assert_allclose(fields[0], vectors * np.diag(GRID.affine)[:3], rtol=1e-6)


def test_absolute_reads_both_layouts(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(*GRID.shape, 3)).astype(np.float32)
    easyreg = write_nifti(tmp_path / "easyreg.nii.gz", vectors)
    spm = write_nifti(tmp_path / "y_spm.nii", vectors[:, :, :, None], 1007, "Mapping")
    fields = [read_transform(path, "absolute").displacement for path in (easyreg, spm)]
    np.testing.assert_array_equal(*fields)


# --- ITK transform files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".mat", ".tfm"])
def test_affine_there_and_back(tmp_path, matrix, ending):
    path = tmp_path / f"affine{ending}"
    save_affine(path, matrix)
    np.testing.assert_allclose(read_transform(path).matrix, matrix, atol=1e-12)
    assert os.listdir(tmp_path) == [path.name]


def itk_affines() -> dict[str, sitk.Transform]:
    centre = (10.0, -20.0, 30.0)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.1, 0.1, 0, 0, 0.9, 0.05, 0.02, 0, 1))
    affine.SetTranslation((5, 6, 7))
    affine.SetCenter(centre)
    euler = sitk.Euler3DTransform(centre, 0.1, 0.2, 0.3, (4, 5, 6))
    similarity = sitk.Similarity3DTransform()
    similarity.SetParameters((0.1, 0.2, 0.05, 1, 2, 3, 1.2))
    similarity.SetCenter(centre)
    return {
        "affine": affine,
        "Euler": euler,
        "similarity": similarity,
        "translation": sitk.TranslationTransform(3, (1, 2, 3)),
        "composite": sitk.CompositeTransform([affine, euler]),
    }


@pytest.mark.parametrize(
    ("name", "ending"),
    # ITK does not read a composite from .mat itself
    [(n, e) for n in itk_affines() for e in (".mat", ".tfm", ".txt", ".h5") if (n, e) != ("composite", ".mat")],
)
def test_affines_of_itk_send_points_where_itk_does(tmp_path, name, ending):
    path, itk = tmp_path / f"itk{ending}", itk_affines()[name]
    sitk.WriteTransform(itk, str(path))
    ours = read_transform(path)
    assert isinstance(ours, Affine)
    for point in np.random.default_rng(0).uniform(-80, 80, (5, 3)):
        np.testing.assert_allclose(ours((point * LPS)[None])[0] * LPS, itk.TransformPoint(point), atol=1e-9)


def test_composite_applies_the_affine_after_the_field(tmp_path, matrix, residual, points, fixed):
    field = as_field(residual, fixed)
    path = tmp_path / "transform.h5"
    save_composite(path, matrix, field)
    np.testing.assert_allclose(read_transform(path)(points), Chain([Affine(matrix), field])(points), atol=1e-5)
    by_itk = [sitk.ReadTransform(str(path)).TransformPoint(point) for point in (points * LPS).tolist()]
    np.testing.assert_allclose(np.array(by_itk) * LPS, Affine(matrix)(field(points)), atol=1e-4)


@pytest.mark.parametrize("ending", [".mat", ".tfm", ".h5"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_itk_file_that_is_cut_short_is_refused(tmp_path, ending, part):
    path = tmp_path / f"cut{ending}"
    sitk.WriteTransform(itk_affines()["affine"], str(path))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match=rf"cut\{ending}"):
        read_transform(path)


@pytest.mark.parametrize(
    "name", ["html.h5", "html.mat", "flirt.mat", "words.txt", "b-spline.h5", "flat.tfm", "plane.tfm"]
)
def test_other_files_with_itk_endings_are_refused(tmp_path, name):
    path = tmp_path / name
    spline = sitk.BSplineTransformInitializer(sitk.Image([8, 8, 8], sitk.sitkFloat32), [3, 3, 3])
    write = {
        "flirt.mat": lambda: np.savetxt(path, np.eye(4)),
        "b-spline.h5": lambda: sitk.WriteTransform(spline, str(path)),
        "flat.tfm": lambda: sitk.WriteTransform(sitk.Euler2DTransform(), str(path)),
        "plane.tfm": lambda: sitk.WriteTransform(sitk.ScaleTransform(3, (1, 1, 0)), str(path)),
    }
    write.get(name, lambda: path.write_text("<html>"))()
    with pytest.raises(InputError, match=name):
        read_transform(path)


def test_second_transform_of_a_list_is_not_dropped(tmp_path):
    path = tmp_path / "two.tfm"
    save_affine(path, np.eye(4))
    lines = path.read_text()
    path.write_text(lines + lines[lines.index("#Transform 0") :].replace("#Transform 0", "#Transform 1"))
    with pytest.raises(InputError, match=r"two\.tfm"):
        read_transform(path)


def test_second_transform_of_a_list_in_hdf5_is_not_dropped(tmp_path):
    """As 3D Slicer once wrote them: no composite stands before the parts."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "list.h5"
    save_composite(path, np.eye(4), random_field())
    with h5py.File(path, "r+") as file:
        group = file["TransformGroup"]
        del group["0"]
        group.move("1", "0")
        group.move("2", "1")
    with pytest.raises(InputError, match=r"list\.h5.*list of several"):
        read_transform(path)


# --- what is wrong with the input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NIFTI_FORMATS)
def test_damaged_fields_are_refused(tmp_path, kind):
    good = tmp_path / "good.nii.gz"
    write_transform(good, random_field(), kind, GRID, GRID)
    content = good.read_bytes()
    bad = tmp_path / "bad.nii.gz"
    zeros = gzip.compress(gzip.decompress(content)[:-40])
    wrong_sum = content[:-8] + bytes(8)
    for damaged in (content[:-20], content[: len(content) // 2], zeros, wrong_sum, b"<html>", b""):
        bad.write_bytes(damaged)
        with pytest.raises(InputError, match=r"bad\.nii\.gz"):
            read_transform(bad, kind, GRID, GRID)


@pytest.mark.parametrize("kind", NIFTI_FORMATS)
@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_fields_with_holes_are_refused(tmp_path, kind, hole):
    path = tmp_path / "warp.nii.gz"
    write_transform(path, random_field(), kind, GRID, GRID)
    image = nib.load(path)
    vectors = np.asarray(image.dataobj).copy()
    vectors[2, 3, 4] = hole
    nib.Nifti1Image(vectors, image.affine, image.header).to_filename(path)
    with pytest.raises(InputError, match=r"warp\.nii\.gz.* 3 values"):
        read_transform(path, kind, GRID, GRID)


@pytest.mark.parametrize("kind", NIFTI_FORMATS)
@pytest.mark.parametrize("shape", [(6, 7, 8), (6, 7, 8, 2), (6, 7, 8, 3, 3), (6, 7, 8, 1, 2), (3, 6, 7, 9)])
def test_other_shapes_are_refused(tmp_path, kind, shape):
    path = write_nifti(tmp_path / "warp.nii.gz", np.zeros(shape, np.float32))
    with pytest.raises(InputError, match=r"warp\.nii\.gz.*shape"):
        read_transform(path, kind, GRID, GRID)


@pytest.mark.parametrize("kind", ["learn2reg", "monai"])
def test_voxel_field_of_another_image_is_refused(tmp_path, kind):
    path = tmp_path / "warp.nii.gz"
    write_transform(path, random_field(), kind, GRID, GRID)
    with pytest.raises(InputError, match=r"fit"):
        read_transform(path, kind, Grid((6, 8, 7), GRID.affine), GRID)


@pytest.mark.parametrize(("name", "tool"), [("NREG_TRANS", "NiftyReg"), ("Mapping", "SPM")])
@pytest.mark.parametrize("kind", [None, "itk"])
def test_vectors_in_ras_with_the_intent_of_itk_are_refused(tmp_path, name, tool, kind):
    path = write_nifti(tmp_path / "warp.nii.gz", np.zeros((4, 5, 6, 1, 3), np.float32), 1007, name)
    with pytest.raises(InputError, match=rf"{tool}.*absolute"):
        read_transform(path, kind)


@pytest.mark.parametrize(("said", "intent"), [("itk", 1006), ("dispvect", 1007), ("learn2reg", 2006), ("monai", 1007)])
def test_format_that_the_header_contradicts_is_refused(tmp_path, said, intent):
    path = write_nifti(tmp_path / "warp.nii.gz", np.zeros((6, 7, 8, 1, 3), np.float32), intent)
    with pytest.raises(InputError, match=rf"intent {intent}.*not {said}"):
        read_transform(path, said, GRID, GRID)


def test_fsl_warp_of_positions_is_refused(tmp_path):
    """As `convertwarp --absout` makes it; the header does not say so."""
    positions = np.moveaxis(np.indices(GRID.shape), 0, -1) * np.array([2, 3, 1.5])
    path = write_nifti(tmp_path / "warp.nii.gz", positions.astype(np.float32), 2006)
    with pytest.raises(InputError, match="positions"):
        read_transform(path, moving=GRID)


@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_fsl_warp_of_any_rotation_is_taken_as_relative(tmp_path, degrees):
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    write_transform(tmp_path / "warp.nii.gz", Affine(turn), "fsl", GRID, GRID)
    back = read_transform(tmp_path / "warp.nii.gz", moving=GRID)
    np.testing.assert_allclose(back(np.array([[-4.0, 9, 6]])), Affine(turn)(np.array([[-4.0, 9, 6]])), atol=1e-4)


@pytest.mark.parametrize("kind", ["fsl", "learn2reg", "monai"])
def test_missing_moving_grid_is_named(tmp_path, kind):
    path = tmp_path / "warp.nii.gz"
    with pytest.raises(InputError, match=f"{kind} depend on the moving"):
        write_transform(path, random_field(), kind, GRID)
    assert not path.exists()
    write_transform(path, random_field(), kind, GRID, GRID)
    with pytest.raises(InputError, match=f"{kind} depend on the moving"):
        read_transform(path, kind, GRID)


@pytest.mark.parametrize("kind", ["learn2reg", "monai"])
def test_missing_fixed_grid_is_named(tmp_path, kind):
    path = tmp_path / "warp.nii.gz"
    write_transform(path, random_field(), kind, GRID, GRID)
    with pytest.raises(InputError, match=f"{kind} depend on the fixed"):
        read_transform(path, kind, moving=GRID)


@pytest.mark.parametrize("kind", ["itk", "dispvect", "h5"])
def test_sheared_grid_is_refused_by_formats_of_itk(tmp_path, kind):
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(InputError, match="shear"):
        write_transform(tmp_path / file_name(kind), Affine(np.eye(4)), kind, Grid((5, 5, 5), sheared))
    assert os.listdir(tmp_path) == []


def test_names_and_formats_that_do_not_fit_are_refused(tmp_path):
    for name, kind in [("a.nii", "learn2reg"), ("a.mha", "itk"), ("a.nii.gz", "h5"), ("a.nii.gz", "warp")]:
        with pytest.raises(InputError):
            write_transform(tmp_path / name, random_field(), kind, GRID, GRID)
    with pytest.raises(InputError, match=r"\.mat or \.tfm"):
        save_affine(tmp_path / "affine.nii", np.eye(4))
    with pytest.raises(InputError, match=r"\.h5"):
        save_composite(tmp_path / "transform.tfm", np.eye(4), random_field())
    assert os.listdir(tmp_path) == []
    save_affine(tmp_path / "affine.mat", np.eye(4))
    save_image(tmp_path / "image.nii", np.ones((4, 4, 4)), np.eye(4))
    for name, kind in [("affine.mat", "fsl"), ("image.nii", "h5"), ("image.nii", "warp"), ("image.nii", None)]:
        with pytest.raises(InputError):
            read_transform(tmp_path / name, kind)


def test_missing_file_and_missing_folder_are_input_errors(tmp_path):
    for name in ("none.nii.gz", "none.h5", "none.mat"):
        with pytest.raises(InputError, match="no such file"):
            read_transform(tmp_path / name)
    for kind in ("itk", "h5"):
        with pytest.raises(InputError, match="cannot be written"):
            write_transform(tmp_path / "no folder" / file_name(kind), random_field(), kind, GRID)
