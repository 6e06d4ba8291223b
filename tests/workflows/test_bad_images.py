# SPDX-License-Identifier: Apache-2.0
"""Bad images, labels and points: one line that names the file, exit code 3; odd ones are registered with a warning."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SIZE = (20, 22, 19)  # of the fixture's images


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_inside(path: Path) -> None:
    """An intact gzip file around half an image."""
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[: len(content) // 2]))


def replaced_by(array: np.ndarray, affine: np.ndarray | None = None) -> Callable[[Path], None]:
    return lambda path: nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def with_nan(share: float) -> Callable[[Path], None]:
    """So many of the voxels NaN or infinite, from one face on."""

    def spoil(path: Path) -> None:
        array = nib.load(path).get_fdata().astype(np.float32)
        array.flat[: round(share * array.size)] = np.nan
        array.flat[0] = np.inf
        replaced_by(array)(path)

    return spoil


def with_a_hole(path: Path) -> None:
    """A block of 6 x 6 x 6 mm in the middle."""
    array = nib.load(path).get_fdata().astype(np.float32)
    array[7:13, 8:14, 7:13] = np.nan
    replaced_by(array)(path)


def dicom_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "slice1").write_bytes(bytes(128) + b"DICM" + bytes(100))


def with_forms(sform: np.ndarray | None, qform: np.ndarray | None) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        image = nib.load(path)
        image = nib.Nifti1Image(np.asarray(image.dataobj), None)
        image.header.set_sform(sform, code=0 if sform is None else 1)
        image.header.set_qform(qform, code=0 if qform is None else 1)
        nib.save(image, path)

    return spoil


def color(*size: int) -> np.ndarray:
    return np.ones(size, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])


noise = np.random.default_rng(0).random
BALL = sum((axis - size / 2) ** 2 for axis, size in zip(np.ogrid[:20, :22, :19], SIZE, strict=True)) < 49
SHEARED = np.array([[1.0, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "zero bytes": (lambda path: path.write_bytes(b""), "zero bytes"),
    "text": (lambda path: path.write_text("not an image\n"), "cannot be read"),
    "HTML": (lambda path: path.write_text("<!DOCTYPE html><html>Log in</html>"), "a web page"),
    "truncated": (truncated, "damaged or cut short"),
    "truncated inside": (truncated_inside, "damaged or cut short"),
    "DICOM folder": (dicom_folder, "dcm2niix"),
    "2-D": (replaced_by(noise((20, 22))), "2-D"),
    "one slice": (replaced_by(noise((20, 22, 1))), "2-D"),
    "4-D": (replaced_by(noise((*SIZE, 3))), "--volume N, 0 to 2"),
    "RGB": (replaced_by(color(*SIZE)), "RGB"),
    "NaN": (with_nan(1.0), "every voxel is NaN or infinite"),
    "hole": (with_a_hole, "216 voxels (0.22 ml) inside what it shows are NaN or infinite"),
    "zero": (replaced_by(np.zeros(SIZE)), "empty: every voxel is 0"),
    "constant": (replaced_by(np.full(SIZE, 7.0)), "empty: every voxel is 7"),
    "noise": (replaced_by(noise(SIZE)), "nothing stands out from the background"),
    "no orientation": (with_forms(None, None), "--assume_ras"),
    "singular": (with_forms(np.diag([1.0, 0, 1, 1]), None), "singular"),
}


ODD_IMAGES: dict[str, tuple[Callable[[Path], object], dict, str]] = {
    "few NaN": (with_nan(0.01), {}, "84 voxels (1 %) around what it shows are NaN or infinite"),
    "two forms": (with_forms(np.eye(4), np.diag([-1.0, 1, 1, 1])), {}, "sform and qform differ"),
    "sheared": (with_forms(SHEARED, None), {}, "sheared by 5.7°"),
    "no orientation": (with_forms(None, None), {"assume_ras": True}, "taken as RAS, its center at 0"),
    "volume": (replaced_by(noise((*SIZE, 3)) * BALL[..., None]), {"volume": 1}, ""),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_bad_image_is_named_in_one_line(
    answer: Callable, images: dict[str, Path], fresh_weights: Path, tmp_path: Path, role: str, kind: str
) -> None:
    spoil, complaint = BAD_IMAGES[kind]
    spoil(images[role])
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=fresh_weights)
    assert str(images[role]) in line and complaint in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ODD_IMAGES)
def test_odd_image_is_registered_and_warned_of(
    register: Callable,
    images: dict[str, Path],
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture,
) -> None:
    spoil, options, warning = ODD_IMAGES[kind]
    spoil(images["moving"])
    metrics = register(images["fixed"], images["moving"], tmp_path / "out", strip="no", **options)
    warnings = [found for found in metrics["moving"]["warnings"] if warning and warning in found]
    assert len(warnings) == bool(warning)
    assert metrics["fixed"]["warnings"] == []
    told = f"warning: {images['moving']}: " in capsys.readouterr().err
    assert told or not warning
    assert np.isfinite(nib.load(tmp_path / "out" / "moved.nii.gz").get_fdata()).all()


def test_volume_of_a_series_is_the_one_that_is_asked_for(
    register: Callable, fresh_weights: Path, images: dict[str, Path], tmp_path: Path
) -> None:
    volumes = nib.load(images["moving"]).get_fdata()[..., None] * [0.5, 1.0, 0.25]
    replaced_by(volumes)(images["moving"])
    register(images["fixed"], images["moving"], tmp_path / "out", weights=fresh_weights, volume=1)
    moved = nib.load(tmp_path / "out" / "moved.nii.gz").get_fdata()
    assert np.abs(moved - volumes[..., 1]).max() < 20


# --- labels, masks and landmarks --------------------------------------------------------------------------------------


def test_labels_off_the_grid_are_resampled_and_warned_of(
    register: Callable, images: dict[str, Path], save_scan: Callable, tmp_path: Path
) -> None:
    """A label map of half the image, on a grid that is larger by 3 voxels: Dice of 1 with its own image's."""
    label = (np.indices(SIZE)[0] > 9).astype(np.uint8) + 1
    exact = save_scan("exact.nii.gz", label)
    larger = save_scan("larger.nii.gz", np.pad(label, 3), nib.affines.from_matvec(np.eye(3), [-3, -3, -3]))
    metrics = register(
        images["fixed"], images["fixed"], tmp_path / "out", fixed_label=exact, moving_label=larger, init="none"
    )
    (warning,) = (found for found in metrics["moving"]["warnings"] if "larger.nii.gz" in found)
    assert "not on the grid of its image" in warning
    assert metrics["dice_before"] == 1.0
    assert metrics["fixed"]["warnings"] == []


@pytest.mark.parametrize("kind", ["label", "mask"])
def test_labels_elsewhere_are_refused(
    answer: Callable, images: dict[str, Path], save_scan: Callable, fresh_weights: Path, tmp_path: Path, kind: str
) -> None:
    far = save_scan("far.nii.gz", np.ones(SIZE, np.uint8), nib.affines.from_matvec(np.eye(3), [200, 0, 0]))
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=fresh_weights, **{f"fixed_{kind}": far})
    assert str(far) in line and "does not overlap" in line
    assert not (tmp_path / "out").exists()


def test_missing_landmarks_are_named(
    answer: Callable, images: dict[str, Path], fresh_weights: Path, tmp_path: Path
) -> None:
    given = {"output_dir": tmp_path / "out", "weights": fresh_weights, "fixed_landmarks": tmp_path / "none.csv"}
    assert str(tmp_path / "none.csv") in answer("inference", **images, **given)
