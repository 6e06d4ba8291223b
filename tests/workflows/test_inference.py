"""One pair or a dataset: what a registration leaves, on whose grid, and that other software reads it the same way."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.networks import MSFBNet
from scripts.workflows import inference

RESULTS = {"moved.nii.gz", "warp.nii.gz", "metrics.json", "picture.png"}

ANGLES = np.deg2rad([8.0, -12.0, 20.0])
AFFINES = {
    "RAS": np.diag([1.0, 1.2, 0.9, 1.0]),
    "LAS": nib.affines.from_matvec(np.diag([-1.0, 1.2, 0.9]), [30, -20, 5]),
    "oblique PIR": nib.affines.from_matvec(
        nib.eulerangles.euler2mat(*ANGLES) @ np.array([[0, 0, 0.9], [-1.2, 0, 0], [0, -1.0, 0]]), [-12, 40, 31]
    ),
}


@pytest.fixture
def pair(save_scan: Callable, blob: Callable, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Two heads of 28x33x25 voxels, which no network fits, in the orientation that the test asks for."""
    affine = AFFINES[getattr(request, "param", "LAS")]
    paths = (save_scan(f"{name}.nii.gz", blob((28, 33, 25), seed), affine) for seed, name in enumerate(("F", "M")))
    return tuple(paths)


def read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(folder / name)
    return image.get_fdata(), image.affine


# --- one pair -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", AFFINES, indirect=True)
def test_results_lie_on_the_fixed_grid_as_simpleitk_sees_it(
    run_bundle: Callable, lively_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    fixed, moving = pair
    out = tmp_path / "out"
    run_bundle("inference", fixed=fixed, moving=moving, output_dir=out, weights=lively_weights)

    wanted = nib.load(fixed)
    for name, shape in (("moved.nii.gz", wanted.shape), ("warp.nii.gz", (*wanted.shape, 1, 3))):
        image = nib.load(out / name)
        assert image.shape == shape
        np.testing.assert_allclose(image.affine, wanted.affine, atol=1e-5)
        np.testing.assert_allclose(image.get_qform(), wanted.affine, atol=1e-4)

    field = sitk.ReadImage(str(out / "warp.nii.gz"), sitk.sitkVectorFloat64)
    assert np.linalg.norm(sitk.GetArrayFromImage(field), axis=-1).mean() > 0.5
    transform = sitk.DisplacementFieldTransform(field)
    images = [sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (fixed, moving)]
    resampled = sitk.Resample(images[1], images[0], transform, sitk.sitkLinear)
    # Beyond the border ITK has zeros, and the warp goes on with the border's value.
    inside = (slice(4, -4),) * 3
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "moved.nii.gz"), sitk.sitkFloat32))[inside]
    theirs = sitk.GetArrayFromImage(resampled)[inside]
    unmoved = sitk.GetArrayFromImage(images[1])[inside]
    assert np.abs(ours - theirs).max() < 1.0  # of about 1000
    assert np.abs(ours - unmoved).mean() > 5.0


def test_registration_leaves_four_files_and_nothing_else(
    run_bundle: Callable, lively_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out"
    run_bundle("inference", fixed=pair[0], moving=pair[1], output_dir=out, weights=lively_weights)
    assert {path.name for path in out.iterdir()} == RESULTS
    assert {path.name for path in tmp_path.iterdir()} == {"F.nii.gz", "M.nii.gz", "new"}
    assert (out / "picture.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((out / "metrics.json").read_text())
    assert (figures["fixed"], figures["moving"]) == tuple(map(str, pair))
    assert figures["seconds_to_predict"] > 0
    assert "dice" not in figures


def test_moved_image_keeps_the_intensities_of_the_moving_one(
    run_bundle: Callable, lively_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    run_bundle("inference", fixed=pair[0], moving=pair[1], output_dir=tmp_path / "out", weights=lively_weights)
    moved, moving = read(tmp_path / "out", "moved.nii.gz")[0], nib.load(pair[1]).get_fdata()
    assert moving.min() <= moved.min() and moved.max() <= moving.max()
    assert moved.max() > 0.9 * moving.max() > 500
    assert moved.mean() == pytest.approx(moving.mean(), rel=0.25)


def test_untrained_network_moves_nothing(
    run_bundle: Callable, fresh_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    run_bundle("inference", fixed=pair[0], moving=pair[1], output_dir=tmp_path / "out", weights=fresh_weights)
    moved, moving = read(tmp_path / "out", "moved.nii.gz")[0], nib.load(pair[1]).get_fdata()
    assert np.abs(moved - moving).max() < 0.01 * moving.max()
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert figures["lncc"] == pytest.approx(figures["lncc_before"], abs=1e-3)
    assert figures["max_displacement_mm"] < 0.01
    assert figures["ndv_percent"] == figures["folding_percent"] == 0.0


def test_figures_of_a_pair_are_those_of_its_files(
    run_bundle: Callable, lively_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    run_bundle("inference", fixed=pair[0], moving=pair[1], output_dir=tmp_path / "out", weights=lively_weights)
    lengths = np.linalg.norm(read(tmp_path / "out", "warp.nii.gz")[0][:, :, :, 0], axis=-1)
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert figures["max_displacement_mm"] == pytest.approx(lengths.max(), rel=1e-5)
    assert figures["mean_displacement_mm"] == pytest.approx(lengths[nib.load(pair[1]).get_fdata() > 0].mean(), rel=1e-3)


def test_orientation_of_the_files_does_not_matter(
    run_bundle: Callable, lively_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    orientation = np.array([[2, -1], [0, 1], [1, -1]])
    turned = []
    for path in pair:
        turned.append(tmp_path / f"turned-{path.name}")
        nib.save(nib.load(path).as_reoriented(orientation), turned[-1])
    for name, (fixed, moving) in (("straight", pair), ("turned", turned)):
        run_bundle("inference", fixed=fixed, moving=moving, output_dir=tmp_path / name, weights=lively_weights)
    moved = nib.load(tmp_path / "straight" / "moved.nii.gz").as_reoriented(orientation)
    again, affine = read(tmp_path / "turned", "moved.nii.gz")
    np.testing.assert_allclose(moved.affine, affine, atol=1e-5)
    np.testing.assert_allclose(moved.get_fdata(), again, atol=0.1)


def test_default_network_takes_any_size(
    run_bundle: Callable, save_scan: Callable, blob: Callable, tmp_path: Path
) -> None:
    size = (17, 24, 11)
    fixed, moving = (save_scan(f"{seed}.nii", blob(size, seed)) for seed in (0, 1))
    overrides = {"network_def#channels": [8, 16, 32, 64, 96]}
    torch.save(MSFBNet().state_dict(), tmp_path / "default.pt")
    options = {"output_dir": tmp_path / "out", "weights": tmp_path / "default.pt", "overrides": overrides}
    run_bundle("inference", fixed=fixed, moving=moving, **options)
    assert nib.load(tmp_path / "out" / "moved.nii.gz").shape == size


def test_few_slices_are_registered_or_refused(
    run_bundle: Callable, refused: Callable, fresh_weights: Path, save_scan: Callable, blob: Callable, tmp_path: Path
) -> None:
    fixed, moving = (save_scan(f"{seed}.nii.gz", blob((24, 24, 9), seed)[:, :, 3:7]) for seed in (0, 1))
    with refused("0.nii.gz"):
        run_bundle("inference", fixed=fixed, moving=moving, output_dir=tmp_path / "out", weights=fresh_weights)


def test_same_names_in_two_folders_are_two_images(
    run_bundle: Callable, lively_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    paths = []
    for path in pair:
        (tmp_path / path.stem).mkdir()
        paths.append(path.rename(tmp_path / path.stem / "T1.nii.gz"))
    run_bundle("inference", fixed=paths[0], moving=paths[1], output_dir=tmp_path / "out", weights=lively_weights)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["moving"] == str(paths[1])


def test_second_run_replaces_the_first(
    run_bundle: Callable, lively_weights: Path, fresh_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    moved = []
    for weights in (lively_weights, fresh_weights):
        run_bundle("inference", fixed=pair[0], moving=pair[1], output_dir=tmp_path / "out", weights=weights)
        moved.append(read(tmp_path / "out", "moved.nii.gz")[0])
        assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS
    assert np.abs(moved[0] - moved[1]).max() > 50


# --- nothing half written -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["save_itk_field", "registration_picture", "_figures"])
def test_failure_while_saving_leaves_nothing(
    run_bundle: Callable,
    lively_weights: Path,
    pair: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    def disk_full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(inference, step, disk_full)
    with pytest.raises(RuntimeError):
        run_bundle("inference", fixed=pair[0], moving=pair[1], output_dir=tmp_path / "out", weights=lively_weights)
    assert {path for path in tmp_path.rglob("*") if path != tmp_path / "out"} == {*pair}


def test_failure_while_saving_keeps_the_earlier_result(
    run_bundle: Callable,
    lively_weights: Path,
    fresh_weights: Path,
    pair: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"fixed": pair[0], "moving": pair[1], "output_dir": tmp_path / "out"}
    run_bundle("inference", weights=lively_weights, **options)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(inference, "registration_picture", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError):
        run_bundle("inference", weights=fresh_weights, **options)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


# --- a dataset ------------------------------------------------------------------------------------------------------


def test_dataset_leaves_one_folder_per_pair(
    run_bundle: Callable, odd_dataset: Path, lively_weights: Path, tmp_path: Path
) -> None:
    run_bundle("inference", dataset_dir=odd_dataset, output_dir=tmp_path / "out", weights=lively_weights)
    names = [f"VIRTUAL_000{number}_0000" for number in (3, 4)]
    folders = [tmp_path / "out" / f"{fixed}_{moving}" for fixed, moving in (names, names[::-1])]
    assert set((tmp_path / "out").iterdir()) == set(folders)

    run_bundle("train", "evaluate", dataset_dir=odd_dataset, output_dir=tmp_path / "eval", weights=lively_weights)
    table = json.loads((tmp_path / "eval" / "metrics.json").read_text())["pairs"]
    for folder, row in zip(folders, table, strict=True):
        assert {path.name for path in folder.iterdir()} == RESULTS
        figures = json.loads((folder / "metrics.json").read_text())
        for metric in ("dice", "dice_before", "ndv_percent", "folding_percent", "sdlogj"):
            assert figures[metric] == pytest.approx(row[metric], rel=1e-4, abs=1e-6)


def test_section_chooses_the_pairs(
    run_bundle: Callable, odd_dataset: Path, fresh_weights: Path, tmp_path: Path, refused: Callable
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "imagesTr").symlink_to(odd_dataset / "imagesTr")
    content = json.loads((odd_dataset / "VIRTUAL_dataset.json").read_text())
    people = [f"./imagesTr/VIRTUAL_000{number}_0000.nii.gz" for number in (1, 2)]
    content["registration_test"] = [{"fixed": people[1], "moving": people[0]}]
    content["training"] = content["training"][:0]
    (data / "dataset.json").write_text(json.dumps(content))
    options = {"dataset_dir": data, "output_dir": tmp_path / "out", "weights": fresh_weights}
    run_bundle("inference", section="registration_test", **options)
    (folder,) = (tmp_path / "out").iterdir()
    assert folder.name == "VIRTUAL_0002_0000_VIRTUAL_0001_0000"
    assert "dice" not in json.loads((folder / "metrics.json").read_text())
    with refused("no pairs under nothing", "registration_test"):
        run_bundle("inference", section="nothing", **options)
