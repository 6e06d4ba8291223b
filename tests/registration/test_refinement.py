# SPDX-License-Identifier: Apache-2.0
"""Refinement of a field on the pair itself: what it gains, and what it must never do."""

import math
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from scripts.metrics.similarity import lncc
from scripts.registration import refinement
from scripts.registration.refinement import refine, refine_pair
from scripts.spatial import jacobian_determinant
from scripts.spatial.jacobian import TETRAHEDRA
from scripts.synthesis.anatomies import phantom_anatomy
from scripts.synthesis.virtual_subjects import VirtualPair, virtual_pair

pytestmark = pytest.mark.usefixtures("keep_any_deformation")

SIZE = (32, 32, 32)


@pytest.fixture(scope="module")
def people() -> VirtualPair:
    return virtual_pair(phantom_anatomy(SIZE), seed=0)


@pytest.fixture(scope="module")
def image(people: VirtualPair) -> Tensor:
    """Fixed and moving, `(1, 2, 32, 32, 32)`."""
    return torch.cat([people.fixed.image, people.moving.image], dim=1)


def folded_voxels(field: Tensor) -> int:
    """By any of the ten tetrahedra, counted on its own."""
    volumes = torch.stack([jacobian_determinant(field, scheme) for scheme in TETRAHEDRA])
    return int((volumes.amin(dim=0) <= 0).sum())


def assert_no_harm(image: Tensor, start: Tensor, steps: int) -> Tensor:
    field, before, after = refine(image, start, steps)
    assert before == pytest.approx(lncc(image[0], start[0]).item(), abs=1e-6)
    assert after == pytest.approx(lncc(image[0], field[0]).item(), abs=1e-6)
    assert after >= before
    assert folded_voxels(field) <= folded_voxels(start)
    assert field.isfinite().all() and field.shape == start.shape and not field.requires_grad
    return field


# --- what it gains ----------------------------------------------------------------------------------------------------


def test_field_comes_closer_to_the_true_one(people: VirtualPair, image: Tensor) -> None:
    start = torch.zeros_like(people.field)
    field, before, after = refine(image, start, 40)
    brain = people.fixed.labels[0, 0] > 0
    errors = [torch.linalg.vector_norm(f - people.field, dim=1)[0][brain].mean() for f in (start, field)]
    assert errors[1] < 0.8 * errors[0]
    assert after > before + 0.1
    assert folded_voxels(field) == 0


def test_rounds_go_on_from_each_other(image: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """No single update may move by more than BOUND of its knots' distance, several together may."""
    monkeypatch.setattr(refinement, "BOUND", 0.05)
    start = torch.zeros(1, 3, *SIZE)
    one, several = (refine(image, start, steps).field.abs().max() for steps in (25, 200))
    assert one <= 0.05 * sum(factor * knots for factor, knots, _ in refinement.LEVELS) + 1e-5
    assert several > one


def test_noise_leads_less_far_from_a_field_that_is_right(
    people: VirtualPair, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))

    def departure() -> float:
        return (refine(noisy, people.field, 25).field - people.field).square().mean().sqrt().item()

    held = departure()
    monkeypatch.setattr(refinement, "DEPARTURE_WEIGHT", 0.0)
    assert held < 0.8 * departure()


def test_same_input_same_bits(image: Tensor) -> None:
    start = torch.zeros(1, 3, *SIZE)
    assert torch.equal(refine(image, start, 7).field, refine(image, start, 7).field)


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_inputs_stay_as_they_are(image: Tensor, context: Callable) -> None:
    given, start = image.clone(), torch.zeros(1, 3, *SIZE)
    with context():
        assert refine(given, start, 5).similarity_after > lncc(image[0], start[0])
    assert torch.equal(given, image)
    assert not start.any()


# --- what it must never do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amplitude", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_rough_starts_get_no_worse(image: Tensor, amplitude: float, steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    assert_no_harm(image, amplitude * torch.randn((1, 3, *SIZE), generator=generator), steps)


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_noise_gets_no_worse(steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    assert_no_harm(torch.rand((1, 2, 24, 16, 20), generator=generator), torch.zeros(1, 3, 24, 16, 20), steps)


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 9, 30), (3, 4, 5)])
def test_any_size(size: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    assert_no_harm(torch.rand((1, 2, *size), generator=generator), torch.zeros(1, 3, *size), 5)


def test_images_without_contrast_leave_the_field(image: Tensor) -> None:
    start = torch.randn((1, 3, *SIZE), generator=torch.Generator().manual_seed(0))
    for empty in (torch.zeros_like(image), torch.full_like(image, 0.7)):
        assert torch.equal(refine(empty, start, 5).field, start)


def test_identical_images_are_not_moved(image: Tensor) -> None:
    same = image[:, :1].expand(-1, 2, -1, -1, -1)
    field = assert_no_harm(same, torch.zeros(1, 3, *SIZE), 20)
    assert field.abs().max() < 0.01


@pytest.mark.parametrize("rate", [3.0, 100.0, 1e30])
def test_guard_holds_where_the_optimizer_runs_wild(image: Tensor, monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    monkeypatch.setattr(refinement, "LEARNING_RATE", rate)
    monkeypatch.setattr(refinement, "VOLUME_WEIGHT", 0.0)
    assert_no_harm(image, torch.zeros(1, 3, *SIZE), 5)


def test_loss_that_is_no_number_leaves_the_field(image: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refinement, "SMOOTHNESS_WEIGHT", math.nan)
    start = 0.1 * torch.randn((1, 3, *SIZE), generator=torch.Generator().manual_seed(0))
    assert torch.equal(assert_no_harm(image, start, 5), start)


@pytest.mark.parametrize("where", ["image", "field"])
def test_not_a_number_comes_back_as_it_was(image: Tensor, where: str) -> None:
    spoilt, start = image.clone(), torch.zeros(1, 3, *SIZE)
    (spoilt if where == "image" else start)[0, 0, 8, 8, 8] = math.nan
    assert torch.equal(refine(spoilt, start, 3).field.nan_to_num(9), start.nan_to_num(9))


# --- in the pipeline --------------------------------------------------------------------------------------------------


def test_no_steps_change_nothing() -> None:
    pair = object()
    assert refine_pair(pair, 0, "cpu") is pair


@pytest.fixture
def scans(save_scan: Callable, people: VirtualPair) -> list[Path]:
    arrays = [(person.image[0, 0].numpy() * 255).astype(np.uint8) for person in (people.fixed, people.moving)]
    return [save_scan(f"{name}.nii.gz", array) for name, array in zip(("fixed", "moving"), arrays, strict=True)]


def test_registration_refines_and_tells_what_it_gained(
    register: Callable, fresh_weights: Path, scans: list[Path], tmp_path: Path
) -> None:
    plain = register(*scans, tmp_path / "plain", weights=fresh_weights)
    refined = register(*scans, tmp_path / "refined", weights=fresh_weights, refine=10)
    assert "refinement" not in plain and "refine" not in plain["timings"] and plain["settings"]["refine"] == 0
    assert refined["timings"]["refine"]["seconds"] > 0 and refined["settings"]["refine"] == 10

    gained = refined["refinement"]
    assert set(gained) == {"steps", "lncc_before", "lncc_after", "gain"}
    assert gained["steps"] == 10
    assert gained["lncc_before"] == pytest.approx(plain["lncc"], abs=1e-6)
    assert gained["lncc_after"] == pytest.approx(refined["lncc"], abs=1e-6)
    assert gained["gain"] == pytest.approx(refined["lncc"] - plain["lncc"], abs=1e-5) and gained["gain"] > 0.01

    warps = [nib.load(tmp_path / out / "warp.nii.gz").get_fdata() for out in ("plain", "refined")]
    assert np.abs(warps[1] - warps[0]).max() > 0.1
    pages = [(tmp_path / out / "report.html").read_text() for out in ("plain", "refined")]
    assert ["in 10 steps" in page for page in pages] == [False, True]


def test_bad_steps_end_the_registration_at_once(
    refused: Callable, register: Callable, fresh_weights: Path, scans: list[Path], tmp_path: Path
) -> None:
    with refused("--refine -5"):
        register(*scans, tmp_path / "out", weights=fresh_weights, refine=-5)
    assert not (tmp_path / "out").exists()
