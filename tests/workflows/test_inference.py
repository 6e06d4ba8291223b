# SPDX-License-Identifier: Apache-2.0
"""One pair: what a registration leaves, and what its figures say."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.networks import MSFBNet
from scripts.registration import steps

pytestmark = pytest.mark.usefixtures("keep_any_deformation")

WARPS = {"warp.nii.gz", "inverse_warp.nii.gz", "affine.mat"}
RESULTS = {"moved.nii.gz", "quality.nii.gz", *WARPS, "metrics.json", "report.html"}
AFFINE = np.diag([-1.0, 1.2, 0.9, 1.0])


@pytest.fixture
def pair(save_scan: Callable, blob: Callable) -> tuple[Path, Path]:
    """Two heads of 28x33x25 voxels, LAS, one of which no network fits."""
    fixed, moving = (save_scan(f"{name}.nii.gz", blob((28, 33, 25), seed), AFFINE) for seed, name in enumerate("FM"))
    return fixed, moving


def voxels(path: Path) -> np.ndarray:
    return nib.load(path).get_fdata()


def test_registration_leaves_seven_files_and_nothing_else(
    register: Callable, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out"
    metrics = register(*pair, out)
    assert {path.name for path in out.iterdir()} == RESULTS
    assert {path.name for path in tmp_path.iterdir()} == {"F.nii.gz", "M.nii.gz", "new"}
    assert metrics["verdict"] in (out / "report.html").read_text()
    assert not {"dice", "tre", "hd95"} & metrics.keys()


def test_composite_is_written_on_request(register: Callable, pair: tuple[Path, Path], tmp_path: Path) -> None:
    register(*pair, tmp_path / "out", composite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS | {"transform.h5"}


def test_metrics_say_from_what_and_how_the_result_came(
    register: Callable, random_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    metrics = register(*pair, tmp_path / "out", seed=5)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (*pair, random_weights)]
    weights = metrics["settings"]["weights"]
    assert [metrics["fixed"]["sha256"], metrics["moving"]["sha256"], weights["sha256"]] == digests
    assert (metrics["fixed"]["path"], metrics["moving"]["path"]) == tuple(map(str, pair))
    assert metrics["settings"]["init"] == "none" and metrics["settings"]["seed"] == 5
    assert metrics["device"] == "cpu" and metrics["threads"] == torch.get_num_threads()
    versions = metrics["versions"]
    assert versions["nibabel"] == nib.__version__
    assert versions["torch"].partition("+")[0] == torch.__version__.partition("+")[0]  # "+cpu" is named or not
    assert set(metrics["timings"]) == {
        *("load", "affine", "prepare", "contrasts", "network", "backward", "fuse", "check", "quality", "invert"),
        *("measure", "save", "report"),
    }
    assert all(stage["seconds"] >= 0 and stage["peak_memory_mb"] > 50 for stage in metrics["timings"].values())


def test_untrained_network_moves_nothing(
    register: Callable, fresh_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    figures = register(*pair, tmp_path / "out", weights=fresh_weights)
    moved, moving = voxels(tmp_path / "out" / "moved.nii.gz"), voxels(pair[1])
    assert np.abs(moved - moving).max() < 0.01 * moving.max()
    assert figures["lncc"] == pytest.approx(figures["lncc_before"], abs=1e-3)
    assert figures["foreground_dice"] == figures["foreground_dice_before"]
    assert figures["max_displacement_mm"] < 0.01
    assert figures["inverse_consistency_max_mm"] < 0.01
    assert figures["foreground_ndv_percent"] == figures["foreground_folding_percent"] == 0.0


def test_identical_scans_agree_entirely(
    register: Callable, fresh_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    figures = register(pair[0], pair[0], tmp_path / "out", weights=fresh_weights)
    assert figures["lncc"] > 0.95
    assert figures["foreground_dice"] == 1.0
    assert figures["verdict"] == "pass"


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_figures_of_a_pair_are_those_of_its_files(
    register: Callable, pair: tuple[Path, Path], tmp_path: Path, spacing: float
) -> None:
    """The displacements are measured on the network's grid, in mm; here they are on the fixed image's."""
    figures = register(*pair, tmp_path / "out", network_spacing=spacing)
    warp = voxels(tmp_path / "out" / "warp.nii.gz")[:, :, :, 0]
    lengths = np.linalg.norm(warp, axis=-1)[voxels(pair[0]) > 100]
    assert lengths.mean() > 0.4
    assert figures["mean_displacement_mm"] == pytest.approx(lengths.mean(), rel=0.05)
    assert figures["max_displacement_mm"] == pytest.approx(lengths.max(), rel=0.1)
    assert figures["lncc"] != pytest.approx(figures["lncc_before"], abs=1e-3)


def test_default_network_takes_any_size(
    register: Callable, save_scan: Callable, blob: Callable, tmp_path: Path
) -> None:
    size = (17, 24, 11)
    fixed, moving = (save_scan(f"{seed}.nii", blob(size, seed)) for seed in (0, 1))
    overrides = {"network_def#channels": [8, 16, 32, 64, 96]}
    torch.save(MSFBNet().state_dict(), tmp_path / "default.pt")
    register(fixed, moving, tmp_path / "out", weights=tmp_path / "default.pt", overrides=overrides)
    assert nib.load(tmp_path / "out" / "moved.nii.gz").shape == size


def test_same_names_in_two_folders_are_two_images(register: Callable, pair: tuple[Path, Path], tmp_path: Path) -> None:
    paths = []
    for path in pair:
        (tmp_path / path.stem).mkdir()
        paths.append(path.rename(tmp_path / path.stem / "T1.nii.gz"))
    assert register(*paths, tmp_path / "out")["moving"]["path"] == str(paths[1])


def test_second_run_replaces_the_first(
    register: Callable, random_weights: Path, fresh_weights: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    moved = []
    for weights in (random_weights, fresh_weights):
        register(*pair, tmp_path / "out", weights=weights)
        moved.append(voxels(tmp_path / "out" / "moved.nii.gz"))
        assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS
    assert np.abs(moved[0] - moved[1]).max() > 50


def test_a_second_run_gives_the_same_bytes(register: Callable, pair: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        register(*pair, tmp_path / name)
    for name in RESULTS - {"metrics.json", "report.html"}:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_brain_that_is_found_in_a_head_is_a_mask_and_saved(
    register: Callable, save_scan: Callable, blob: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads of 18 x 25 x 14 cm, larger than a brain; the brain is what a mask of half their size would leave."""
    affine = np.diag([8.0, 8.0, 8.0, 1.0]) @ AFFINE
    pair = [save_scan(f"{name}.nii.gz", blob((28, 33, 25), seed), affine) for seed, name in enumerate("FM")]
    options = {"network_spacing": 8}
    brain = np.zeros((28, 33, 25), np.uint8)
    brain[7:21, 8:25, 6:19] = 1
    monkeypatch.setattr(steps, "find_brain", lambda image, grid: brain > 0)
    monkeypatch.setattr(steps, "brain_finder", lambda: "finder 1.0")
    found = register(*pair, tmp_path / "found", **options)
    assert found["fixed"]["mask_from"] == found["moving"]["mask_from"] == "finder 1.0"
    for role, scan in zip(("fixed", "moving"), pair, strict=True):
        saved = nib.load(tmp_path / "found" / f"{role}_mask.nii.gz")
        np.testing.assert_array_equal(saved.dataobj, brain)
        np.testing.assert_allclose(saved.affine, nib.load(scan).affine)
    assert "Brain found in the moving scan" in (tmp_path / "found" / "report.html").read_text()
    masks = {f"{role}_mask": save_scan(f"{role}-mask.nii.gz", brain, affine) for role in ("fixed", "moving")}
    register(*pair, tmp_path / "given", **masks, **options)
    for folder in ("found", "given"):
        assert (tmp_path / folder / "fixed_mask.nii.gz").exists() == (folder == "found")
    warps = [voxels(tmp_path / folder / "warp.nii.gz") for folder in ("found", "given")]
    np.testing.assert_array_equal(*warps)
    whole = register(*pair, tmp_path / "found", strip="no", **options)
    assert whole["fixed"]["warnings"] == [] and whole["fixed"]["shows_head"]
    assert not (tmp_path / "found" / "fixed_mask.nii.gz").exists()


# --- nothing half written -------------------------------------------------------------------------------------------


def origin(error: BaseException) -> BaseException:
    """What the bundle runner and MONAI's Compose have wrapped."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`fill_disk("warp.nii.gz")`: the disk is full when this file is to be renamed to its final name."""
    replace = os.replace

    def fill(name: str) -> None:
        def rename(source: str | Path, target: str | Path) -> None:
            if Path(target).name == name:
                raise OSError(28, "No space left on device")
            replace(source, target)

        monkeypatch.setattr(os, "replace", rename)

    return fill


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_disk_full_while_saving_leaves_nothing(
    register: Callable, pair: tuple[Path, Path], tmp_path: Path, fill_disk: Callable, name: str
) -> None:
    fill_disk(name)
    with pytest.raises(RuntimeError) as caught:
        register(*pair, tmp_path / "out")
    assert isinstance(origin(caught.value), OSError)
    assert {path for path in tmp_path.rglob("*") if path != tmp_path / "out"} == {*pair}


def test_disk_full_while_saving_keeps_the_earlier_result(
    register: Callable, fresh_weights: Path, pair: tuple[Path, Path], tmp_path: Path, fill_disk: Callable
) -> None:
    register(*pair, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    fill_disk("metrics.json")
    with pytest.raises(RuntimeError):
        register(*pair, tmp_path / "out", weights=fresh_weights)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_metrics_come_last(
    register: Callable, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[str] = []
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda source, target: (placed.append(Path(target).name), replace(source, target))
    )
    register(*pair, tmp_path / "out")
    assert placed[-1] == "metrics.json" and set(placed[-len(RESULTS) :]) == RESULTS


def test_output_folder_is_checked_before_the_images(register: Callable, refused: Callable, tmp_path: Path) -> None:
    """The images are missing, too."""
    with refused("/proc", "cannot be written", "--output_dir"):
        register(tmp_path / "F.nii", tmp_path / "M.nii", Path("/proc/results"))


# --- a dataset ------------------------------------------------------------------------------------------------------


def test_section_chooses_the_pairs(
    run_bundle: Callable, small_dataset: Path, fresh_weights: Path, tmp_path: Path, refused: Callable
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "imagesTr").symlink_to(small_dataset / "imagesTr")
    content = json.loads((small_dataset / "VIRTUAL_dataset.json").read_text())
    people = [f"./imagesTr/VIRTUAL_000{number}_0000.nii.gz" for number in (1, 2)]
    content["registration_test"] = [{"fixed": people[1], "moving": people[0]}]
    content["training"] = content["training"][:0]
    (data / "dataset.json").write_text(json.dumps(content))
    options = {"dataset_dir": data, "output_dir": tmp_path / "out", "weights": fresh_weights, "init": "none"}
    run_bundle("inference", section="registration_test", **options)
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert folder.name == "VIRTUAL_0002_0000_VIRTUAL_0001_0000"
    assert "dice" not in json.loads((folder / "metrics.json").read_text())
    with refused("no pairs under nothing", "registration_test"):
        run_bundle("inference", section="nothing", **options)
