# SPDX-License-Identifier: Apache-2.0
"""What is taken as background: registrations of scans that are masked, cropped, or NaN around the brain."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.__main__ import main

SIZE = (34, 38, 32)  # of the heads, whose values go from 0 to about 1000


@pytest.fixture
def heads(blob: Callable) -> dict[str, np.ndarray]:
    """Two heads by role, float32, 0 around them."""
    return {role: blob(SIZE, seed).astype(np.float32) for seed, role in enumerate(("fixed", "moving"))}


def figures(metrics: dict) -> dict[str, float]:
    return {name: metrics[name] for name in ("lncc_before", "lncc", "foreground_dice", "max_displacement_mm")}


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_scan_with_nan_around_it_is_registered_as_its_twin_with_0(
    register: Callable, save_scan: Callable, heads: dict, tmp_path: Path, missing: float
) -> None:
    """Both scans. The results have 0 there and no NaN, also when the warp is applied again."""
    twins = [save_scan(f"{role}.nii.gz", array) for role, array in heads.items()]
    scans = [save_scan(f"{role}_nan.nii.gz", np.where(a > 0, a, missing)) for role, a in heads.items()]
    expected = register(*twins, tmp_path / "twin")
    metrics = register(*scans, tmp_path / "out")
    assert figures(metrics) == figures(expected)
    assert expected["moving"]["warnings"] == []
    for role in ("fixed", "moving"):
        (warning,) = metrics[role]["warnings"]
        assert warning.endswith("around what it shows are NaN or infinite; taken as background (0)")
    for name in ("moved", "warp", "inverse_warp"):
        ours, twin = (nib.load(tmp_path / folder / f"{name}.nii.gz").get_fdata() for folder in ("out", "twin"))
        np.testing.assert_array_equal(ours, twin)
    moved = nib.load(tmp_path / "out" / "moved.nii.gz").get_fdata()
    assert (moved[0] == 0).all() and moved.max() > 500
    words = ["--transform", tmp_path / "out" / "warp.nii.gz", "--input", scans[1], "--reference", scans[0]]
    assert main(["apply", *map(str, words), "--output", str(tmp_path / "again.nii.gz")]) == 0
    np.testing.assert_allclose(nib.load(tmp_path / "again.nii.gz").get_fdata(), moved, atol=0.01)


def test_nan_inside_a_scan_is_refused_but_not_outside_of_its_mask(
    register: Callable, answer: Callable, save_scan: Callable, heads: dict, fresh_weights: Path, tmp_path: Path
) -> None:
    fixed, moving = heads["fixed"], heads["moving"].copy()
    mask = (np.indices(SIZE)[2] > 12).astype(np.uint8) * (moving > 0)
    moving[14:19, 16:21, 5:10] = np.nan
    files = {"fixed": save_scan("F.nii.gz", fixed), "moving": save_scan("M.nii.gz", moving)}
    line = answer("inference", **files, output_dir=tmp_path / "out", weights=fresh_weights)
    assert "M.nii.gz: 125 voxels (0.12 ml) inside what it shows are NaN or infinite, 125 of them in one place" in line
    register(*files.values(), tmp_path / "out", moving_mask=save_scan("mask.nii.gz", mask))


@pytest.mark.parametrize("masked", [False, True])
def test_slab_that_is_cropped_to_the_brain_is_registered(
    register: Callable, save_scan: Callable, heads: dict, tmp_path: Path, masked: bool
) -> None:
    """Moved by the identity it overlaps with its own part of the fixed head, and with nothing else."""
    slab = heads["fixed"][:, :, 12:20]
    places = np.argwhere(slab > 0)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    slab = slab[low[0] : high[0], low[1] : high[1]]
    assert np.median([slab[:, :, 0], slab[:, :, -1]]) > 100
    affine = nib.affines.from_matvec(np.eye(3), [*low[:2], 12])
    options = {"moving_mask": save_scan("mask.nii.gz", (slab > 0).astype(np.uint8), affine)} if masked else {}
    files = save_scan("F.nii.gz", heads["fixed"]), save_scan("slab.nii.gz", slab, affine)
    metrics = register(*files, tmp_path / "out", **options)
    share = (slab > 60).sum() / (heads["fixed"] > 60).sum()
    assert metrics["foreground_dice_before"] == pytest.approx(2 * share / (1 + share), abs=0.03)
    assert metrics["verdict"] != "pass"


def test_noise_around_a_masked_brain_is_no_obstacle(
    register: Callable, answer: Callable, save_scan: Callable, heads: dict, fresh_weights: Path, tmp_path: Path
) -> None:
    """As bright as the brain: nothing stands out without the mask."""
    inside = heads["moving"] > 0
    noisy = np.where(inside, heads["moving"], np.random.default_rng(0).uniform(0, 1200, SIZE)).astype(np.float32)
    files = {"fixed": save_scan("F.nii.gz", heads["fixed"]), "moving": save_scan("M.nii.gz", noisy)}
    line = answer("inference", **files, output_dir=tmp_path / "out", weights=fresh_weights)
    assert "M.nii.gz: nothing stands out from the background at the faces" in line
    mask = save_scan("mask.nii.gz", inside.astype(np.uint8))
    metrics = register(*files.values(), tmp_path / "out", moving_mask=mask)
    twin = register(files["fixed"], save_scan("clean.nii.gz", heads["moving"]), tmp_path / "twin", moving_mask=mask)
    assert metrics["foreground_dice_before"] == pytest.approx(twin["foreground_dice_before"], abs=0.02)
    assert metrics["lncc_before"] == pytest.approx(twin["lncc_before"], abs=0.1)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (np.s_[0:12, 0:12, 0:12], "the mask lies beside what"),
        (np.s_[16:19, 16:19, 16:19], "the mask has only 0.027 ml"),
    ],
)
def test_mask_that_cannot_be_right_is_named(
    answer: Callable, save_scan: Callable, heads: dict, fresh_weights: Path, tmp_path: Path, box: tuple, said: str
) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[box] = 1
    heads["moving"][:12, :12, :12] = 0
    files = {role: save_scan(f"{role}.nii.gz", array) for role, array in heads.items()}
    given = {"moving_mask": save_scan("mask.nii.gz", mask), "output_dir": tmp_path / "out", "weights": fresh_weights}
    line = answer("inference", **files, **given)
    assert f"mask.nii.gz: {said}" in line
    assert not (tmp_path / "out").exists()
