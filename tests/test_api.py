# SPDX-License-Identifier: Apache-2.0
"""scripts.api: the same registration whatever the form of the input, and the same as the command line's."""

import json
import logging
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from scripts import api
from scripts.__main__ import main
from scripts.api import Result, apply, load_network, register
from scripts.geometry import Affine, Chain
from scripts.io import read_transform, save_affine, save_itk_field
from scripts.networks import MSFBNet
from scripts.runtime import InputError

pytestmark = pytest.mark.usefixtures("keep_any_deformation", "tiny_config")

AFFINE = np.diag([-1.0, 1.2, 0.9, 1.0])
MOVING_AFFINE = np.array([[0.0, -1.1, 0, 0.8], [1, 0, 0, 4.7], [0, 0, 1, -1.7], [0, 0, 0, 1]])
SIZE, MOVING_SIZE = (28, 33, 25), (30, 27, 26)
ON_CPU = {"init": "none", "device": "cpu"}


@pytest.fixture
def pair(save_scan: Callable, blob: Callable) -> SimpleNamespace:
    """Two heads, as files and as arrays, on grids of other axes and sizes."""
    fixed, moving = (blob(SIZE, 0), AFFINE), (blob(MOVING_SIZE, 1), MOVING_AFFINE)
    paths = [save_scan(f"{name}.nii.gz", *scan) for name, scan in (("F", fixed), ("M", moving))]
    return SimpleNamespace(fixed=fixed, moving=moving, paths=paths)


@pytest.fixture
def result(pair: SimpleNamespace, random_network: MSFBNet) -> Result:
    return register(*pair.paths, network=random_network, **ON_CPU)


def labels_of(array: np.ndarray) -> np.ndarray:
    return np.digitize(array, [1, 600, 750]).astype(np.int16)


def voxels(image: nib.Nifti1Image | Path) -> np.ndarray:
    return np.asarray((nib.load(image) if isinstance(image, Path) else image).dataobj)


# --- forms of the input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "opened", "in memory", "array", "big endian array"])
def test_any_form_of_the_images_gives_the_same_warps_bit_for_bit(
    form: str, pair: SimpleNamespace, result: Result, random_network: MSFBNet
) -> None:
    def in_form(path: Path, scan: tuple) -> api.Image:
        array, affine = scan
        forms = {
            "text": lambda: str(path),
            "opened": lambda: nib.load(path),
            "in memory": lambda: nib.Nifti1Image(array, affine),
            "array": lambda: (array, affine),
            "big endian array": lambda: (np.asfortranarray(array.astype(">f8")), affine.tolist()),
        }
        return forms[form]()

    images = [in_form(*both) for both in zip(pair.paths, (pair.fixed, pair.moving), strict=True)]
    other = register(*images, network=random_network, **ON_CPU)
    for field, expected in ((other.warp, result.warp), (other.inverse_warp, result.inverse_warp)):
        np.testing.assert_array_equal(field.displacement, expected.displacement)
        np.testing.assert_array_equal(field.affine, expected.affine)
    assert np.abs(result.warp.displacement).max() > 1  # the network moves things
    np.testing.assert_array_equal(voxels(other.moved), voxels(result.moved))


def test_masks_labels_and_landmarks_reach_the_metrics(
    pair: SimpleNamespace, result: Result, random_network: MSFBNet, tmp_path: Path
) -> None:
    inside = pair.fixed[0] > 0
    inside[: SIZE[0] // 2] = False
    points = Affine(AFFINE)(np.argwhere(inside)[::500].astype(np.float64))
    ends = result.warp(points) + np.array([0, 3, 4])
    starts = tmp_path / "points.csv"
    np.savetxt(starts, points, delimiter=",", header="x_ras_mm,y_ras_mm,z_ras_mm", comments="", fmt="%.9f")
    extras = {
        "fixed_label": (labels_of(pair.fixed[0]).astype(np.int64), AFFINE),
        "moving_label": nib.Nifti1Image(labels_of(pair.moving[0]), MOVING_AFFINE),
        "fixed_landmarks": starts,
        "moving_landmarks": ends,
    }
    metrics = register(*pair.paths, network=random_network, **extras, **ON_CPU).metrics
    # The field on the fixed image's grid and the one on the network's agree to some hundredths of a mm.
    assert metrics["tre"] == pytest.approx(5, abs=0.1)
    assert metrics["tre_before"] == pytest.approx(np.linalg.norm(points - ends, axis=1).mean(), abs=1e-4)
    assert 0 < metrics["dice"] < 1 and metrics["hd95"] > 0
    assert not {"dice", "tre"} & result.metrics.keys()

    masked = register(*pair.paths, network=random_network, fixed_mask=(inside, AFFINE), **ON_CPU)
    assert masked.metrics["foreground_dice_before"] < result.metrics["foreground_dice_before"]
    assert masked.registration.fixed.mask is not None and masked.registration.fixed.mask.dtype == bool
    np.testing.assert_array_equal(masked.registration.fixed.mask, inside)


def test_a_matrix_is_where_the_registration_starts(
    pair: SimpleNamespace, result: Result, random_network: MSFBNet, tmp_path: Path
) -> None:
    matrix = np.array([[1.0, 0.05, 0, 2], [-0.05, 1, 0, -1], [0, 0, 1.1, 3], [0, 0, 0, 1]])
    save_affine(tmp_path / "init.mat", matrix)
    given = {"network": random_network, "device": "cpu"}
    started = register(*pair.paths, init=matrix, **given)
    np.testing.assert_array_equal(started.affine, matrix)
    assert started.metrics["settings"]["init"] == matrix.tolist()
    assert np.abs(started.warp.displacement - result.warp.displacement).max() > 1
    read = register(*pair.paths, init=tmp_path / "init.mat", **given)
    np.testing.assert_allclose(read.warp.displacement, started.warp.displacement, atol=1e-4)
    same = register(*pair.paths, init=np.eye(4), **given)
    np.testing.assert_array_equal(same.warp.displacement, result.warp.displacement)


def test_a_volume_of_a_series_is_registered(
    pair: SimpleNamespace, result: Result, random_network: MSFBNet, save_scan: Callable
) -> None:
    series = np.stack([pair.moving[0][::-1], pair.moving[0]], axis=-1)
    other = register(pair.paths[0], (series, MOVING_AFFINE), volume=1, network=random_network, **ON_CPU)
    np.testing.assert_array_equal(other.warp.displacement, result.warp.displacement)


def test_refinement_makes_the_images_more_similar(
    pair: SimpleNamespace, result: Result, random_network: MSFBNet
) -> None:
    refined = register(*pair.paths, network=random_network, refine=4, **ON_CPU)
    assert refined.metrics["refinement"]["steps"] == 4
    assert refined.metrics["lncc"] > result.metrics["lncc"]


# --- the result -------------------------------------------------------------------------------------------------------


def test_moved_shows_what_lies_where_the_warp_leads(pair: SimpleNamespace, result: Result) -> None:
    moved = result.moved
    np.testing.assert_allclose(moved.affine, AFFINE, atol=1e-6)
    assert moved.shape == SIZE and moved.get_data_dtype() == np.float32
    index = np.argwhere(pair.fixed[0] > 300)[::50]
    ends = result.warp(Affine(AFFINE)(index.astype(np.float64)))
    there = map_coordinates(pair.moving[0].astype(float), Affine(MOVING_AFFINE).inverse()(ends).T, order=1)
    np.testing.assert_allclose(voxels(moved)[tuple(index.T)], there, atol=0.5)
    assert there.std() > 50


def test_the_inverse_warp_leads_back(pair: SimpleNamespace, result: Result) -> None:
    assert result.inverse_warp.grid.shape == MOVING_SIZE
    points = Affine(AFFINE)(np.argwhere(pair.fixed[0] > 300)[::50].astype(np.float64))
    distances = np.linalg.norm(result.inverse_warp(result.warp(points)) - points, axis=1)
    assert np.median(distances) < 0.1 < np.median(np.linalg.norm(result.warp(points) - points, axis=1))


def test_verdict_and_reasons_are_those_of_the_metrics(result: Result) -> None:
    assert result.verdict in ("pass", "look", "fail")
    assert result.metrics["verdict"] == result.verdict
    assert list(result.reasons) == result.metrics["reasons"]
    assert bool(result.reasons) == (result.verdict != "pass")


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def by_command(
    tiny_config: Path,
    pair: SimpleNamespace,
    random_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unchanged_process: Callable,
) -> Path:
    """What `python -m scripts register` leaves of the pair."""
    monkeypatch.chdir(tiny_config.parents[1])
    files = ("--fixed", pair.paths[0], "--moving", pair.paths[1], "--weights", random_weights)
    with unchanged_process(), suppress(SystemExit):  # a network of random weights may make it worse
        main(["register", *map(str, (*files, "--output_dir", tmp_path / "out"))])
    return tmp_path / "out"


def test_save_leaves_what_the_command_line_leaves(
    pair: SimpleNamespace, random_weights: Path, by_command: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "new" / "saved"
    register(*pair.paths, weights=random_weights, **ON_CPU).save(saved)
    assert {path.name for path in saved.iterdir()} == {path.name for path in by_command.iterdir()}
    for name in ("moved.nii.gz", "warp.nii.gz", "inverse_warp.nii.gz"):
        first, second = (nib.load(folder / name) for folder in (saved, by_command))
        assert first.header == second.header
        np.testing.assert_array_equal(first.dataobj, second.dataobj)
    assert (saved / "affine.mat").read_bytes() == (by_command / "affine.mat").read_bytes()
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (saved, by_command))
    assert first.pop("timings").keys() == second.pop("timings").keys()
    assert first == second


def test_apply_gives_what_the_command_writes(
    pair: SimpleNamespace, result: Result, by_command: Path, save_scan: Callable, tmp_path: Path
) -> None:
    labels = labels_of(pair.moving[0])
    series = np.stack([pair.moving[0], pair.moving[0][::-1]], axis=-1)
    warp = by_command / "warp.nii.gz"
    shift = tmp_path / "shift.mat"
    save_affine(shift, np.eye(4) + np.outer([1, 0, 0, 0], [0, 0, 0, 2.5]))
    for name, array in (("labels", labels), ("image", pair.moving[0]), ("series", series)):
        source = save_scan(f"{name}.nii.gz", array, MOVING_AFFINE)
        for transform, words in ((result, str(warp)), (warp, str(warp)), ([warp, shift], f"{warp},{shift}")):
            out = tmp_path / "X.nii.gz"
            line = ["apply", "--transform", words, "--input", source, "--reference", pair.paths[0], "--output", out]
            assert main([str(word) for word in line]) == 0
            moved, written = apply(transform, (array, MOVING_AFFINE), pair.fixed), nib.load(out)
            assert moved.get_data_dtype() == written.get_data_dtype() == np.int16
            np.testing.assert_array_equal(moved.dataobj, written.dataobj)
            np.testing.assert_array_equal(moved.affine, written.affine)


# --- apply ------------------------------------------------------------------------------------------------------------


def test_without_a_reference_the_transform_has_its_own_grid(pair: SimpleNamespace, result: Result) -> None:
    moved = apply(result, pair.moving)
    assert moved.shape == SIZE
    np.testing.assert_allclose(moved.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(moved.dataobj, voxels(apply(result, pair.paths[1], pair.paths[0])))
    np.testing.assert_allclose(voxels(moved), voxels(result.moved), atol=0.51)  # rounded to the input's int16


def test_the_inverse_is_on_the_moving_grid_and_brings_back(pair: SimpleNamespace, result: Result) -> None:
    back = apply(result, pair.fixed, inverse=True)
    assert back.shape == MOVING_SIZE
    np.testing.assert_allclose(back.affine, MOVING_AFFINE, atol=1e-6)
    again = voxels(apply(result, back)).astype(float)
    core = pair.fixed[0] > 500
    assert np.median(np.abs(again - pair.fixed[0])[core]) < 20 < np.median(np.abs(voxels(back)[voxels(back) > 500]))


def test_a_transform_is_inverted_where_a_result_has_its_inverse(pair: SimpleNamespace, result: Result) -> None:
    expected = voxels(apply(result, pair.fixed, inverse=True)).astype(float)
    moved = voxels(apply(result.warp, pair.fixed, pair.moving, inverse=True)).astype(float)
    assert np.median(np.abs(moved - expected)) < 2


def test_labels_keep_their_values_and_type(result: Result, pair: SimpleNamespace) -> None:
    for dtype in (np.uint8, np.int64, np.float32):
        labels = labels_of(pair.moving[0]).astype(dtype) * 7
        moved = apply(result, (labels, MOVING_AFFINE))
        assert moved.get_data_dtype() == dtype
        assert set(np.unique(voxels(moved))) == {0, 7, 14, 21}
    inside = apply(result, (pair.moving[0] > 0, MOVING_AFFINE), interpolation="nearest")
    assert set(np.unique(voxels(inside))) == {0, 1}
    assert inside.get_data_dtype() == np.uint8


def test_a_series_is_moved_volume_by_volume_and_keeps_its_time_step(result: Result, pair: SimpleNamespace) -> None:
    volumes = [pair.moving[0].astype(np.float32), pair.moving[0][:, ::-1].astype(np.float32)]
    series = nib.Nifti1Image(np.stack(volumes, axis=-1), MOVING_AFFINE)
    series.header.set_zooms((*series.header.get_zooms()[:3], 2.5))
    series.header.set_xyzt_units("mm", "sec")
    moved = apply(result, series)
    assert moved.shape == (*SIZE, 2)
    assert moved.header.get_zooms()[3] == 2.5 and moved.header.get_xyzt_units() == ("mm", "sec")
    for number, volume in enumerate(volumes):
        np.testing.assert_array_equal(voxels(moved)[..., number], voxels(apply(result, (volume, MOVING_AFFINE))))


def test_the_first_of_several_files_is_applied_first(result: Result, pair: SimpleNamespace, tmp_path: Path) -> None:
    matrix = np.diag([1.2, 1.0, 0.9, 1.0])
    save_itk_field(tmp_path / "warp.nii.gz", result.warp.displacement, AFFINE)
    save_affine(tmp_path / "scale.mat", matrix)
    moved = apply([tmp_path / "warp.nii.gz", tmp_path / "scale.mat"], pair.moving, pair.fixed)
    chain = Chain([Affine(matrix), read_transform(tmp_path / "warp.nii.gz")])
    np.testing.assert_array_equal(voxels(moved), voxels(apply(chain, pair.moving, pair.fixed)))
    assert (voxels(moved) != voxels(apply(result, pair.moving))).any()


# --- the network ------------------------------------------------------------------------------------------------------


def test_the_network_is_that_of_the_file_in_evaluation_mode_on_the_device(
    random_weights: Path, random_network: MSFBNet
) -> None:
    network = load_network(random_weights, "cpu")
    assert not any(module.training for module in network.modules())
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    image = torch.rand(2, 2, 16, 24, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        field = network(image)
        assert field.shape == (2, 3, 16, 24, 16)
        assert torch.equal(field, random_network(image))


def test_weights_and_their_network_give_the_same(result: Result, pair: SimpleNamespace, random_weights: Path) -> None:
    other = register(*pair.paths, weights=str(random_weights), **ON_CPU)
    np.testing.assert_array_equal(other.warp.displacement, result.warp.displacement)
    assert other.metrics["settings"]["weights"]["path"] == str(random_weights)
    assert result.metrics["settings"]["weights"] is None


def test_the_device_is_that_of_the_network(pair: SimpleNamespace, random_network: MSFBNet) -> None:
    assert register(*pair.paths, network=random_network, init="none").metrics["device"] == "cpu"


# --- what is left alone -----------------------------------------------------------------------------------------------


def test_nothing_is_printed_and_the_process_stays_as_it_is(
    pair: SimpleNamespace, random_weights: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> list:
        return [
            sys.excepthook,
            list(sys.path),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.get_rng_state().tolist(),
            random.getstate(),
            str(np.random.get_state()),
            logging.getLogger().handlers[:],
            Path.cwd(),
        ]

    monkeypatch.chdir(pair.paths[0].parent)
    before, files = state(), set(Path().iterdir())
    done = register("F.nii.gz", "M.nii.gz", weights=random_weights, refine=2, init="rigid", device="cpu")
    apply(done, "M.nii.gz")
    assert state() == before
    assert set(Path().iterdir()) == files
    assert capfd.readouterr() == ("", "")


def test_what_is_given_is_not_changed(pair: SimpleNamespace, random_network: MSFBNet) -> None:
    fixed, moving = pair.fixed[0].astype(np.float32), nib.Nifti1Image(pair.moving[0], MOVING_AFFINE)
    fixed[0, 0, 0] = np.nan
    labels, points, matrix = labels_of(pair.moving[0]), np.array([[1.0, 2, 3]]), np.eye(4)
    header, copies = moving.header.copy(), [array.copy() for array in (fixed, labels, points, matrix, AFFINE)]
    weights = {name: value.clone() for name, value in random_network.state_dict().items()}
    options = {"fixed_landmarks": points, "moving_landmarks": points, "moving_label": (labels, MOVING_AFFINE)}
    done = register((fixed, AFFINE), moving, network=random_network, init=matrix, refine=1, device="cpu", **options)
    apply(done, moving)
    for array, copy in zip((fixed, labels, points, matrix, AFFINE), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert moving.header == header
    np.testing.assert_array_equal(moving.dataobj, pair.moving[0])
    assert all(torch.equal(value, weights[name]) for name, value in random_network.state_dict().items())


@pytest.mark.parametrize("call", ["register", "apply"])
def test_what_is_odd_about_a_header_is_logged(
    call: str, result: Result, pair: SimpleNamespace, random_network: MSFBNet, caplog: pytest.LogCaptureFixture
) -> None:
    odd = nib.Nifti1Image(pair.moving[0], MOVING_AFFINE)
    odd.set_qform(nib.affines.from_matvec(np.eye(3), [0, 3, 4]) @ MOVING_AFFINE, code=1)
    caplog.clear()
    if call == "register":
        register(pair.fixed, odd, network=random_network, **ON_CPU)
    else:
        apply(result, odd)
    (record,) = caplog.records
    assert record.name.startswith("scripts.") and record.levelno == logging.WARNING
    assert "sform and qform differ by up to 5 mm" in record.getMessage()


# --- bad input --------------------------------------------------------------------------------------------------------

HEAD = np.arange(6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
POINTS = np.zeros((3, 3))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fixed": "missing.nii.gz"}, ["missing.nii.gz", "no such file"]),
        ({"fixed": (np.full_like(HEAD, np.nan), AFFINE)}, ["every voxel is NaN"]),
        ({"fixed": (HEAD * 0, AFFINE)}, ["every voxel is 0"]),
        ({"fixed": (HEAD[0], AFFINE)}, ["2-D image (7x8)"]),
        ({"fixed": (HEAD * 1j, AFFINE)}, ["complex64"]),
        ({"fixed": (HEAD.astype(object), AFFINE)}, ["object"]),
        ({"fixed": (HEAD, AFFINE[:3])}, ["affine", "(4, 4)"]),
        ({"fixed": (HEAD, AFFINE * 0)}, ["affine", "(4, 4)"]),
        ({"fixed": (HEAD, AFFINE * np.nan)}, ["affine", "(4, 4)"]),
        ({"moving": (np.stack([HEAD, HEAD], axis=-1), AFFINE)}, ["4-D with several volumes"]),
        ({"fixed_label": (HEAD + 0.5, AFFINE)}, ["label map holds whole numbers"]),
        ({"fixed_mask": (HEAD[..., :0], AFFINE)}, ["6x7x0"]),
        ({"fixed_landmarks": POINTS, "moving_landmarks": POINTS[1:]}, ["3 landmarks", "2"]),
        ({"fixed_landmarks": POINTS[:, :2]}, ["(3, 2)"]),
        ({"fixed_landmarks": "missing.csv"}, ["missing.csv", "no such file"]),
        ({"init": "afine"}, ["afine", "affine, rigid, none"]),
        ({"init": np.eye(3)}, ["init", "(4, 4)"]),
        ({"init": np.zeros((4, 4))}, ["init", "(4, 4)"]),
        ({"refine": -1}, ["-1", "whole number"]),
        ({"refine": 2.5}, ["2.5", "whole number"]),
        ({"weights": "missing.pt", "network": None}, ["missing.pt", "no such file"]),
    ],
)
def test_bad_input_is_one_line(
    given: dict, words: list[str], pair: SimpleNamespace, random_network: MSFBNet, refused: Callable
) -> None:
    with refused(*words):
        register(**{"fixed": pair.fixed, "moving": pair.moving, "network": random_network, **ON_CPU, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"transform": "missing.mat"}, ["missing.mat", "no such file"]),
        ({"image": "missing.nii.gz"}, ["missing.nii.gz", "no such file"]),
        ({"image": (HEAD.reshape(6, 7, 8, 1, 1)[..., [0, 0]], AFFINE)}, ["5-D"]),
        ({"reference": "missing.nii.gz"}, ["missing.nii.gz", "no such file"]),
        ({"transform": Affine(np.eye(4))}, ["no grid of its own", "reference"]),
    ],
)
def test_bad_input_of_apply_is_one_line(given: dict, words: list[str], result: Result, refused: Callable) -> None:
    with refused(*words):
        apply(**{"transform": result, "image": (HEAD, AFFINE), **given})


def test_errors_are_those_that_a_program_can_catch(pair: SimpleNamespace, random_network: MSFBNet) -> None:
    with pytest.raises(InputError, match=r"missing\.nii"):  # itself, not wrapped
        register(pair.fixed, "missing.nii", network=random_network)
