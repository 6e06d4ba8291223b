# SPDX-License-Identifier: Apache-2.0
"""What `apply` does to label maps, images, series and headers."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from scripts.geometry.grid import Grid
from scripts.geometry.transforms import Affine, Chain, as_field
from scripts.io.nifti import save_itk_field
from scripts.registration.reuse import apply
from scripts.runtime.errors import InputError
from tests.registration.examples import (
    AFFINE,
    MATRIX,
    REFERENCE_AFFINE,
    REFERENCE_SHAPE,
    SHAPE,
    affine_file,
    blobs,
    grid_affine,
    save,
    stored,
    texture,
    wavy_field,
)


@pytest.fixture
def call(folder: Path) -> Callable[..., Path]:
    """`call("warp.nii.gz", "labels.nii.gz", ...)`: apply with names in the folder; the path of the result."""

    def run(transform: str, input: str, reference: str = "reference.nii.gz", output: str = "out.nii.gz", **options):
        names = [",".join(str(folder / name) for name in text.split(",")) for text in (transform, input)]
        apply(*names, str(folder / reference), str(folder / output), **options)
        return folder / output

    return run


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
