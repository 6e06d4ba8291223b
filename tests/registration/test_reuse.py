# SPDX-License-Identifier: Apache-2.0
"""What is done with finished transforms: images, points, formats, Jacobians."""

import csv
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Affine, Chain, Field, as_field
from scripts.io.field_formats import read_transform
from scripts.io.nifti import save_itk_field
from scripts.registration.reuse import apply, convert, jacobian, points
from scripts.runtime.errors import InputError

SHAPE = (24, 22, 20)
REFERENCE_SHAPE = (21, 25, 18)


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = matrix @ turn
    return matrix


def grid_affine(kind: str, shape: tuple[int, ...], spacing: tuple[float, ...] = (1.2, 1.0, 1.4)) -> np.ndarray:
    """A grid centered on the world's origin."""
    directions = {"RAS": np.eye(3), "LAS": np.diag([-1, 1, 1]), "oblique": rotation((0.2, -0.3, 0.25))}[kind]
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


AFFINE = grid_affine("RAS", SHAPE)
REFERENCE_AFFINE = grid_affine("oblique", REFERENCE_SHAPE, (1.1, 0.9, 1.3))


def wavy(points: np.ndarray) -> np.ndarray:
    """Displacement in mm of points `(N, 3)`: some mm, without folds."""
    return np.stack([np.sin(points[:, 1] / 6), 1.2 * np.cos(points[:, 2] / 7), np.sin(points[:, 0] / 5)], axis=1) * 1.5


def wavy_field(shape: tuple[int, ...] = REFERENCE_SHAPE, affine: np.ndarray = REFERENCE_AFFINE) -> Field:
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3).astype(float)
    return Field(wavy(Affine(affine)(voxels)).reshape(*shape, 3).astype(np.float32), affine)


def blobs(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Six labels on a background of 0."""
    generator = np.random.default_rng(seed)
    positions = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    centers = generator.uniform(4, np.array(shape) - 4, (6, 3))
    distances = np.linalg.norm(positions[..., None, :] - centers, axis=-1)
    return np.where(distances.min(axis=-1) < 6, distances.argmin(axis=-1) + 1, 0)


def texture(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Float64 from 0 to about 1, another value in every voxel."""
    generator = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(0, 5, n) for n in shape], indexing="ij")
    values = (np.sin(x) * np.cos(y) * np.sin(z + 1) + 1) / 2.2 + generator.uniform(0, 0.05, shape)
    return values - values.min()


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, slope: float = 1, inter: float = 0) -> str:
    """Stored numbers as they are, with a slope."""
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    image = nib.Nifti1Image(array, affine, header, dtype=array.dtype)
    image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    if (slope, inter) != (1, 0):
        # nibabel sets the header's slope back where it has scaled nothing itself.
        with nib.openers.ImageOpener(path, "rb") as file:
            content = bytearray(file.read())
        content[112:120] = np.array([slope, inter], dtype="<f4").tobytes()
        with nib.openers.ImageOpener(path, "wb") as file:
            file.write(bytes(content))
    return str(path)


def stored(path: str | Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj.get_unscaled())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a reference (oblique), a field on its grid, and the identity's field."""
    save(tmp_path / "reference.nii.gz", np.zeros(REFERENCE_SHAPE, np.uint8), REFERENCE_AFFINE)
    save(tmp_path / "same.nii.gz", np.zeros(SHAPE, np.uint8))
    save_itk_field(tmp_path / "warp.nii.gz", wavy_field().displacement, REFERENCE_AFFINE)
    save_itk_field(tmp_path / "identity.nii.gz", np.zeros((*SHAPE, 3), np.float32), AFFINE)
    return tmp_path


@pytest.fixture
def call(folder: Path) -> Callable[..., Path]:
    """`call("warp.nii.gz", "labels.nii.gz", ...)`: apply with names in the folder; the path of the result."""

    def run(transform: str, input: str, reference: str = "reference.nii.gz", output: str = "out.nii.gz", **options):
        names = [",".join(str(folder / name) for name in text.split(",")) for text in (transform, input)]
        apply(*names, str(folder / reference), str(folder / output), **options)
        return folder / output

    return run


def affine_file(path: Path, matrix: np.ndarray) -> None:
    """An ITK affine of a RAS matrix, written by SimpleITK."""
    flip = np.diag([-1, -1, 1, 1])
    lps = flip @ matrix @ flip
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel())
    transform.SetTranslation(lps[:3, 3])
    sitk.WriteTransform(transform, str(path))


MATRIX = np.eye(4)
MATRIX[:3, :3] = rotation((0.1, 0.05, -0.12)) * [1.05, 0.97, 1.02]
MATRIX[:3, 3] = 1.5, -0.7, 0.9


# --- label maps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "offset"),
    [
        (np.uint8, 0),
        (np.int16, -20),
        (np.uint16, 60_000),
        (np.int32, 2**24 + 1),
        (np.uint32, 2**32 - 10),
        (np.int64, 2**53 + 1),
        (np.uint64, 2**64 - 10),
        (np.float32, 0),
    ],
)
def test_identity_leaves_labels_bit_by_bit(folder: Path, call: Callable, dtype: type, offset: int) -> None:
    values = np.array([0, *[n + offset for n in range(1, 7)]], dtype=dtype)[blobs()]
    save(folder / "labels.nii.gz", values)
    out = call("identity.nii.gz", "labels.nii.gz", "same.nii.gz")
    assert nib.load(out).get_data_dtype() == np.dtype(dtype)
    assert np.array_equal(stored(out), values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.float64])
def test_warped_labels_are_labels_of_the_input(folder: Path, call: Callable, dtype: type) -> None:
    values = (blobs() * 37).astype(dtype)
    save(folder / "labels.nii.gz", values)
    out = call("warp.nii.gz", "labels.nii.gz")
    assert nib.load(out).shape == REFERENCE_SHAPE
    assert set(np.unique(stored(out))) == set(np.unique(values))
    assert np.array_equal(stored(out), sitk_apply(folder, "labels.nii.gz", sitk.sitkNearestNeighbor))


def sitk_apply(folder: Path, name: str, mode: int, transform: sitk.Transform | None = None) -> np.ndarray:
    """The same by SimpleITK, with warp.nii.gz if no other transform is given."""
    if transform is None:
        transform = sitk.DisplacementFieldTransform(
            sitk.Cast(sitk.ReadImage(str(folder / "warp.nii.gz")), sitk.sitkVectorFloat64)
        )
    image, reference = (sitk.ReadImage(str(folder / file)) for file in (name, "reference.nii.gz"))
    return sitk.GetArrayFromImage(sitk.Resample(image, reference, transform, mode, 0.0)).T


def test_nothing_is_written_where_labels_cannot_be_told(folder: Path, call: Callable, tmp_path: Path) -> None:
    """Shells of a depth are layers of the cortex, or a distance; the first input could have been written."""
    sides = [np.minimum(index, n - 1 - index) for index, n in zip(np.indices(SHAPE), SHAPE, strict=True)]
    depth = np.minimum.reduce(sides)
    save(folder / "labels.nii.gz", blobs().astype(np.uint8))
    save(folder / "depth.nii.gz", (depth // 2).clip(0, 5).astype(np.uint8))
    inputs = [str(folder / name) for name in ("labels.nii.gz", "depth.nii.gz")]
    with pytest.raises(InputError, match=r"depth\.nii\.gz: .*give --interpolation nearest for labels, linear for"):
        apply(str(folder / "warp.nii.gz"), inputs, str(folder / "reference.nii.gz"), str(tmp_path / "out"))
    assert list(tmp_path.glob("out/*")) == []
    for mode in ("nearest", "linear"):
        call("warp.nii.gz", "depth.nii.gz", output=f"{mode}.nii.gz", interpolation=mode)


def test_mask_with_a_scale_factor_stays_a_mask(folder: Path, call: Callable) -> None:
    """0 and 255 with a slope of 1/255, as some tools store a mask."""
    save(folder / "mask.nii.gz", ((blobs() > 0) * 255).astype(np.uint8), slope=1 / 255)
    assert set(np.unique(stored(call("warp.nii.gz", "mask.nii.gz")))) == {0, 255}


def test_series_of_labels_that_begins_empty_stays_labels(folder: Path, call: Callable) -> None:
    save(folder / "labels.nii.gz", np.stack([0 * blobs(), 3 * blobs(), blobs(seed=1)], axis=-1).astype(np.uint8))
    moved = stored(call("warp.nii.gz", "labels.nii.gz"))
    assert set(np.unique(moved[..., 1])) == set(3 * np.unique(blobs()))


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RAS", "LAS", "oblique"])
def test_image_is_moved_as_by_simpleitk(folder: Path, call: Callable, kind: str) -> None:
    save(folder / "image.nii.gz", texture().astype(np.float32), grid_affine(kind, SHAPE))
    ours = stored(call("warp.nii.gz", "image.nii.gz"))
    assert ours.dtype == np.float32
    assert np.abs(ours - sitk_apply(folder, "image.nii.gz", sitk.sitkLinear)).max() < 1e-4


def test_several_transforms_are_applied_in_the_order_of_ants(folder: Path, call: Callable) -> None:
    save(folder / "image.nii.gz", texture().astype(np.float32))
    affine_file(folder / "affine.mat", MATRIX)
    fused = as_field(Chain([Affine(MATRIX), wavy_field()]), Grid(REFERENCE_SHAPE, REFERENCE_AFFINE))
    save_itk_field(folder / "fused.nii.gz", fused.displacement, REFERENCE_AFFINE)
    apart = stored(call("warp.nii.gz,affine.mat", "image.nii.gz"))
    assert np.abs(apart - stored(call("fused.nii.gz", "image.nii.gz"))).max() < 1e-4
    composite = sitk.CompositeTransform(3)  # the last one added comes first
    composite.AddTransform(sitk.ReadTransform(str(folder / "affine.mat")))
    field = sitk.Cast(sitk.ReadImage(str(folder / "warp.nii.gz")), sitk.sitkVectorFloat64)
    composite.AddTransform(sitk.DisplacementFieldTransform(field))
    assert np.abs(apart - sitk_apply(folder, "image.nii.gz", sitk.sitkLinear, composite)).max() < 1e-4
    ants = pytest.importorskip("ants")
    images = [ants.image_read(str(folder / name)) for name in ("reference.nii.gz", "image.nii.gz")]
    theirs = ants.apply_transforms(*images, [str(folder / name) for name in ("warp.nii.gz", "affine.mat")])
    assert np.abs(apart - theirs.numpy()).max() < 1e-3


def test_inverse_undoes_the_whole_chain(folder: Path, call: Callable) -> None:
    smooth = (np.indices(SHAPE).sum(axis=0) / 10).astype(np.float32)
    save(folder / "image.nii.gz", smooth)
    affine_file(folder / "affine.mat", MATRIX)
    both = "affine.mat,warp.nii.gz"
    call(both, "image.nii.gz", "same.nii.gz", "moved.nii.gz")
    back = stored(call(both, "moved.nii.gz", "same.nii.gz", "back.nii.gz", inverse=True))
    core = (slice(7, -7),) * 3
    assert np.abs(back - smooth)[core].max() < 0.02
    assert np.abs(stored(folder / "moved.nii.gz") - smooth)[core].max() > 0.1


@pytest.mark.parametrize(("slope", "inter"), [(1, 0), (0.25, -50)])
def test_slope_and_type_of_an_image_stay(folder: Path, call: Callable, slope: float, inter: float) -> None:
    numbers = (texture() * 2000).astype(np.int16)
    save(folder / "image.nii.gz", numbers, slope=slope, inter=inter)
    save(folder / "float.nii.gz", (numbers * slope + inter).astype(np.float32))
    out = nib.load(call("warp.nii.gz", "image.nii.gz"))
    assert out.get_data_dtype() == np.int16
    assert (out.dataobj.slope, out.dataobj.inter) == (slope, inter)
    exact = nib.load(call("warp.nii.gz", "float.nii.gz", output="float_out.nii.gz")).get_fdata()
    assert np.abs(out.get_fdata() - exact).max() <= slope / 2 + 1e-3
    assert np.abs(out.get_fdata() - exact).max() > slope / 4


def test_nearest_keeps_the_stored_numbers_of_a_scaled_image(folder: Path, call: Callable) -> None:
    numbers = (texture() * 30000).astype(np.int16)
    save(folder / "image.nii.gz", numbers, slope=0.1, inter=3)
    out = call("identity.nii.gz", "image.nii.gz", "same.nii.gz", interpolation="nearest")
    assert np.array_equal(stored(out), numbers)


def test_outside_is_zero_or_the_least_value_of_an_image_that_has_no_zero(folder: Path, call: Callable) -> None:
    far = AFFINE.copy()
    far[:3, 3] += 1000
    save(folder / "reference.nii.gz", np.zeros((5, 5, 5), np.uint8), far)
    image = texture().astype(np.float32)
    cases = [("a", image - 0.5, 0), ("b", image + 7, 7), ("c", image - 7, -7), ("labels", blobs() + 5, 0)]
    for name, values, outside in cases:
        save(folder / f"{name}.nii.gz", values.astype(np.float32))
        out = stored(call("warp.nii.gz", f"{name}.nii.gz", output=f"{name}_out.nii.gz"))
        assert np.all(out == np.float32(outside))


def test_holes_in_a_map_do_not_grow(folder: Path, call: Callable, caplog: pytest.LogCaptureFixture) -> None:
    image = texture().astype(np.float32)
    image[10, 10, 10] = np.nan
    image[12, 10, 10] = np.inf
    save(folder / "image.nii.gz", image)
    out = stored(call("identity.nii.gz", "image.nii.gz", "same.nii.gz"))
    assert np.abs(out - np.where(np.isfinite(image), image, 0)).max() < 1e-5
    assert "image.nii.gz: 2 voxels are NaN or infinite" in caplog.text


def test_header_of_the_result_is_that_of_the_reference(folder: Path, call: Callable) -> None:
    save(folder / "image.nii.gz", texture().astype(np.float32))
    header = nib.load(call("warp.nii.gz", "image.nii.gz")).header
    assert np.allclose(header.get_sform(), REFERENCE_AFFINE, atol=1e-5)
    assert np.allclose(header.get_qform(), REFERENCE_AFFINE, atol=1e-5)
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units()[0] == "mm"


def test_sheared_reference_has_no_qform(folder: Path, call: Callable) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.1
    save(folder / "image.nii.gz", texture().astype(np.float32))
    save(folder / "sheared.nii.gz", np.zeros(SHAPE, np.uint8), sheared)
    header = nib.load(call("warp.nii.gz", "image.nii.gz", "sheared.nii.gz")).header
    assert np.allclose(header.get_sform(), sheared, atol=1e-5)
    assert int(header["qform_code"]) == 0


@pytest.mark.parametrize(("ending", "transform"), [(".nii", "warp.nii.gz"), (".nii.gz", "affine.mat,warp.nii.gz")])
def test_series_is_moved_volume_by_volume(folder: Path, call: Callable, ending: str, transform: str) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    volumes = [(texture(seed=seed) * 900).astype(np.int16) for seed in range(3)]
    series = nib.Nifti1Image(np.stack(volumes, axis=-1), AFFINE)
    series.header["pixdim"][4] = 2.5
    series.header.set_xyzt_units("mm", "sec")
    nib.save(series, folder / f"series{ending}")
    out = nib.load(call(transform, f"series{ending}", output=f"out{ending}"))
    assert out.shape == (*REFERENCE_SHAPE, 3)
    assert out.get_data_dtype() == np.int16
    assert out.header["pixdim"][4] == 2.5
    assert out.header.get_xyzt_units() == ("mm", "sec")
    for number, volume in enumerate(volumes):
        save(folder / "one.nii.gz", volume)
        one = stored(call(transform, "one.nii.gz", output="one_out.nii.gz"))
        assert np.abs(out.dataobj[..., number].astype(int) - one).max() <= 1  # rounding may tip
        assert np.mean(out.dataobj[..., number] != one) < 1e-3


def test_many_inputs_keep_their_names_in_a_folder(folder: Path, call: Callable, capsys: pytest.CaptureFixture) -> None:
    save(folder / "image.nii.gz", texture().astype(np.float32))
    save(folder / "labels.nii", blobs().astype(np.uint8))
    nib.save(nib.MGHImage(blobs().astype(np.int32), AFFINE.astype(np.float32)), folder / "aseg.mgz")
    out = call("warp.nii.gz", "image.nii.gz,labels.nii,aseg.mgz", output="results")
    assert {file.name for file in out.iterdir()} == {"image.nii.gz", "labels.nii", "aseg.nii.gz"}
    assert np.array_equal(stored(out / "labels.nii"), stored(out / "aseg.nii.gz"))
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in printed] == ["linear interpolation", *["nearest interpolation"] * 2]


def test_apply_refuses_before_it_computes(folder: Path, call: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder / "image.nii.gz", texture().astype(np.float32))
    (folder / "other").mkdir()
    save(folder / "other" / "image.nii.gz", texture().astype(np.float32))
    monkeypatch.setattr("scripts.registration.reuse.resample", None)
    for words, arguments in (
        ("overwrite", {"output": "image.nii.gz"}),
        ("overwrite", {"output": "reference.nii.gz"}),
        ("overwrite", {"output": "warp.nii.gz"}),
        ("no such folder", {"output": "nowhere/out.nii.gz"}),
        (".nii.gz", {"output": "out.mgz"}),
        ("a folder", {"output": "other"}),
        ("inputs go into a folder", {"input": "image.nii.gz,other/image.nii.gz"}),
        ("this name", {"input": "image.nii.gz,other/image.nii.gz", "output": "results"}),
        ("overwrite", {"input": "image.nii.gz,warp.nii.gz", "output": "."}),
        ("no such file", {"input": "missing.nii.gz"}),
        ("no such file", {"transform": "missing.nii.gz"}),
        ("no such file", {"reference": "missing.nii.gz"}),
    ):
        with pytest.raises(InputError, match=words) as caught:
            call(**{"transform": "warp.nii.gz", "input": "image.nii.gz", **arguments})
        assert "\n" not in str(caught.value)
    assert not (folder / "out.nii.gz").exists()


def test_color_and_complex_and_five_axes_are_refused(folder: Path, call: Callable) -> None:
    color = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name, array in (("rgb", color), ("complex", np.zeros(SHAPE, np.complex64)), ("5d", np.zeros((*SHAPE, 2, 2)))):
        nib.save(nib.Nifti1Image(array, AFFINE), folder / f"{name}.nii.gz")
        with pytest.raises(InputError, match=f"{name}.nii.gz"):
            call("warp.nii.gz", f"{name}.nii.gz")
    assert not (folder / "out.nii.gz").exists()


def test_an_image_without_orientation_needs_to_be_told_of(folder: Path, call: Callable) -> None:
    image = nib.Nifti1Image(texture().astype(np.float32), None)
    nib.save(image, folder / "image.nii.gz")
    with pytest.raises(InputError, match="assume_ras"):
        call("warp.nii.gz", "image.nii.gz")
    assert stored(call("warp.nii.gz", "image.nii.gz", assume_ras=True)).any()


def test_odd_headers_are_told(folder: Path, call: Callable, caplog: pytest.LogCaptureFixture) -> None:
    image = nib.Nifti1Image(texture().astype(np.float32), AFFINE)
    image.set_qform(grid_affine("oblique", SHAPE), code=1)
    image.set_sform(AFFINE, code=1)
    nib.save(image, folder / "image.nii.gz")
    call("warp.nii.gz", "image.nii.gz")
    assert "image.nii.gz: sform and qform differ" in caplog.text


def test_damaged_series_leaves_no_file(folder: Path, call: Callable) -> None:
    save(folder / "series.nii", np.stack([texture()] * 3, axis=-1))
    content = (folder / "series.nii").read_bytes()
    (folder / "series.nii").write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(InputError, match=r"series\.nii: the file is damaged"):
        call("warp.nii.gz", "series.nii")
    assert not list(folder.glob("out*")) and not list(folder.glob(".unfinished*"))


def test_full_disk_leaves_no_file(folder: Path, call: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder / "image.nii.gz", texture().astype(np.float32))
    (folder / "out.nii.gz").write_bytes(b"earlier")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scripts.io.series.stored", full)
    with pytest.raises(InputError, match=r"out\.nii\.gz: cannot be written \(.*No space left on device\)"):
        call("warp.nii.gz", "image.nii.gz")
    assert (folder / "out.nii.gz").read_bytes() == b"earlier"
    assert not list(folder.glob(".unfinished*"))


# --- points -----------------------------------------------------------------------------------------------------------

NAMES = ["AC", "PC", "1003"]
POSITIONS = np.array([[1.0, 2.0, 3.0], [-4.0, 0.5, 2.0], [3.0, -5.0, 1.0]])


def save_points(path: Path, positions: np.ndarray = POSITIONS, names: list[str] = NAMES, space: str = "ras") -> str:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *[f"{axis}_{space}_mm" for axis in "xyz"]])
        writer.writerows([name, *row] for name, row in zip(names, positions.tolist(), strict=True))
    return str(path)


def read_table(path: Path) -> dict[str, list[str]]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def positions_of(path: Path, space: str = "ras") -> np.ndarray:
    table = read_table(path)
    return np.array([[float(cell) for cell in table[f"{axis}_{space}_mm"]] for axis in "xyz"]).T


def test_points_go_as_simpleitk_takes_them(folder: Path) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    both = f"{folder / 'warp.nii.gz'},{folder / 'affine.mat'}"
    points(both, save_points(folder / "p.csv"), str(folder / "q.csv"))
    affine = sitk.ReadTransform(str(folder / "affine.mat"))
    field = sitk.Cast(sitk.ReadImage(str(folder / "warp.nii.gz")), sitk.sitkVectorFloat64)
    warp = sitk.DisplacementFieldTransform(field)
    flip = np.array([-1, -1, 1])
    expected = [affine.TransformPoint(warp.TransformPoint((point * flip).tolist())) for point in POSITIONS]
    assert np.abs(positions_of(folder / "q.csv") - np.array(expected) * flip).max() < 1e-4
    assert read_table(folder / "q.csv")["name"] == NAMES


def test_inverse_brings_points_back(folder: Path) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    both = f"{folder / 'warp.nii.gz'},{folder / 'affine.mat'}"
    points(both, save_points(folder / "p.csv"), str(folder / "q.csv"))
    points(both, str(folder / "q.csv"), str(folder / "back.csv"), inverse=True)
    assert np.abs(positions_of(folder / "back.csv") - POSITIONS).max() < 1e-3
    assert np.abs(positions_of(folder / "q.csv") - POSITIONS).max() > 1


def test_lps_points_are_the_same_places(folder: Path) -> None:
    flip = np.array([-1, -1, 1])
    warp = str(folder / "warp.nii.gz")
    points(warp, save_points(folder / "p.csv"), str(folder / "q.csv"))
    points(warp, save_points(folder / "l.csv", POSITIONS * flip, space="lps"), str(folder / "m.csv"), space="lps")
    assert np.abs(positions_of(folder / "m.csv", "lps") * flip - positions_of(folder / "q.csv")).max() < 1e-5


def test_tre_of_known_points(folder: Path, capsys: pytest.CaptureFixture) -> None:
    start = save_points(folder / "p.csv")
    points(str(folder / "warp.nii.gz"), start, str(folder / "q.csv"))
    moved = positions_of(folder / "q.csv")
    capsys.readouterr()
    # 0, 3 and 5 mm off, in another order.
    target = save_points(folder / "t.csv", (moved + np.array([[0, 0, 0], [3, 0, 0], [0, 3, 4]]))[::-1], NAMES[::-1])
    points(str(folder / "warp.nii.gz"), start, str(folder / "q.csv"), to=target)
    table = read_table(folder / "q.csv")
    assert [float(cell) for cell in table["distance_mm"]] == pytest.approx([0, 3, 5], abs=1e-4)
    before = np.linalg.norm(positions_of(Path(target))[::-1] - POSITIONS, axis=1)
    assert [float(cell) for cell in table["distance_before_mm"]] == pytest.approx(before, abs=1e-4)
    printed = capsys.readouterr().out
    assert "TRE after: mean 2.667, median 3.000, max 5.000 mm, 3 of 3 landmarks" in printed
    assert f"TRE before: mean {before.mean():.3f}" in printed


def test_landmarks_without_partner_are_left_out(folder: Path, capsys: pytest.CaptureFixture) -> None:
    start = save_points(folder / "p.csv")
    target = save_points(folder / "t.csv", POSITIONS[1:2], NAMES[1:2])
    points(str(folder / "identity.nii.gz"), start, str(folder / "q.csv"), to=target)
    assert read_table(folder / "q.csv")["distance_mm"] == ["", "0.000000", ""]
    assert "1 of 3 landmarks" in capsys.readouterr().out


def test_landmarks_of_other_names_are_matched_by_row_if_as_many(folder: Path) -> None:
    start, warp = save_points(folder / "p.csv"), str(folder / "identity.nii.gz")
    points(warp, start, str(folder / "q.csv"), to=save_points(folder / "t.csv", POSITIONS, ["a", "b", "c"]))
    assert read_table(folder / "q.csv")["distance_mm"] == ["0.000000"] * 3
    with pytest.raises(InputError, match=r"t\.csv: 2 landmarks for 3"):
        points(warp, start, str(folder / "q.csv"), to=save_points(folder / "t.csv", POSITIONS[:2], ["a", "b"]))


@pytest.mark.parametrize(("output", "words"), [("p.csv", "overwrite"), ("t.csv", "overwrite"), ("q.txt", ".csv file")])
def test_points_go_into_a_file_of_their_own(folder: Path, output: str, words: str) -> None:
    start, target = save_points(folder / "p.csv"), save_points(folder / "t.csv")
    with pytest.raises(InputError, match=words):
        points(str(folder / "warp.nii.gz"), start, str(folder / output), to=target)
    assert np.array_equal(positions_of(folder / "p.csv"), POSITIONS)


# --- other formats, Jacobian ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dispvect", "h5", "fsl", "learn2reg", "monai", "absolute"])
def test_field_comes_back_from_every_format(folder: Path, kind: str) -> None:
    moving = save(folder / "moving.nii.gz", np.zeros(SHAPE, np.uint8))
    fixed = str(folder / "reference.nii.gz")
    there = str(folder / f"there{'.h5' if kind == 'h5' else '.nii.gz'}")
    convert(str(folder / "warp.nii.gz"), there, to=kind, moving=moving)
    convert(there, str(folder / "back.nii.gz"), to="itk", source=kind, fixed=fixed, moving=moving)
    back = read_transform(folder / "back.nii.gz")
    assert np.allclose(back.affine, REFERENCE_AFFINE, atol=1e-5)
    assert np.abs(back.displacement - wavy_field().displacement).max() < 1e-3


def test_affine_becomes_a_field_only_on_a_given_grid(folder: Path) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    with pytest.raises(InputError, match=r"affine\.mat: has no grid of its own; give --fixed"):
        convert(str(folder / "affine.mat"), str(folder / "field.nii.gz"), to="itk")
    convert(str(folder / "affine.mat"), str(folder / "field.nii.gz"), to="itk", fixed=str(folder / "reference.nii.gz"))
    expected = as_field(Affine(MATRIX), Grid(REFERENCE_SHAPE, REFERENCE_AFFINE)).displacement
    assert np.abs(read_transform(folder / "field.nii.gz").displacement - expected).max() < 1e-4


def test_convert_does_not_overwrite(folder: Path) -> None:
    before = (folder / "warp.nii.gz").read_bytes()
    with pytest.raises(InputError, match="overwrite"):
        convert(str(folder / "warp.nii.gz"), str(folder / "warp.nii.gz"), to="dispvect")
    assert (folder / "warp.nii.gz").read_bytes() == before


def test_jacobian_of_an_affine_is_its_determinant_everywhere(folder: Path) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    with pytest.raises(InputError, match="--reference"):
        jacobian(str(folder / "affine.mat"), str(folder / "j.nii.gz"))
    jacobian(str(folder / "affine.mat"), str(folder / "j.nii.gz"), str(folder / "reference.nii.gz"))
    out = nib.load(folder / "j.nii.gz")
    assert out.get_data_dtype() == np.float32
    assert np.allclose(out.affine, REFERENCE_AFFINE, atol=1e-5)
    assert np.abs(out.get_fdata() - np.linalg.det(MATRIX[:3, :3])).max() < 1e-4


def test_jacobian_of_a_field_is_on_its_own_grid(folder: Path, capsys: pytest.CaptureFixture) -> None:
    # u_x = 0.3 x in mm: dT/dx has the determinant 1.3, however the grid is turned.
    voxels = np.stack(np.meshgrid(*map(np.arange, REFERENCE_SHAPE), indexing="ij"), axis=-1)
    x = voxels @ REFERENCE_AFFINE[0, :3] + REFERENCE_AFFINE[0, 3]
    displacement = np.stack([0.3 * x, 0 * x, 0 * x], axis=-1).astype(np.float32)
    save_itk_field(folder / "stretch.nii.gz", displacement, REFERENCE_AFFINE)
    jacobian(str(folder / "stretch.nii.gz"), str(folder / "j.nii.gz"))
    assert np.abs(nib.load(folder / "j.nii.gz").get_fdata() - 1.3).max() < 1e-4
    assert "1.300 to 1.300, 0 % of the voxels are folded" in capsys.readouterr().out


def test_grid_of_several_transforms_is_that_of_the_first_to_be_applied(folder: Path) -> None:
    affine_file(folder / "affine.mat", MATRIX)
    affine, warp = str(folder / "affine.mat"), str(folder / "warp.nii.gz")
    jacobian([warp, affine], str(folder / "j.nii.gz"))
    assert np.allclose(nib.load(folder / "j.nii.gz").affine, REFERENCE_AFFINE, atol=1e-5)
    with pytest.raises(InputError, match=r"affine\.mat: .*--reference"):
        jacobian([affine, warp], str(folder / "k.nii.gz"))
