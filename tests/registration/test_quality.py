# SPDX-License-Identifier: Apache-2.0
"""Where a registration can be trusted: the value falls where the images or both orders disagree, and only there."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from scripts.api import CONFIG, WEIGHTS, Result, register
from scripts.geometry import resample
from scripts.io import load_weights, read_configs
from scripts.metrics import border_distances
from scripts.networks import PaddedInferer
from scripts.registration import QUALITY_LIMIT, Registration, estimate_quality, fuse
from scripts.registration.measuring import label_quality, mean_quality
from tests.registration.test_measuring import loaded, registered

SIZE = (32, 28, 24)
LEFT = np.indices(SIZE)[0] < SIZE[0] // 2
BRAIN = np.zeros(SIZE, bool)
BRAIN[3:-3, 3:-3, 3:-3] = True
INNER = np.zeros(SIZE, bool)  # whose windows lie in the brain
INNER[6:-6, 6:-6, 6:-6] = True


def texture(seed: int = 0) -> NDArray[np.float32]:
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal(SIZE), 1.5)
    return (np.clip(0.5 + smooth / (5 * smooth.std()), 0.05, 1) * BRAIN).astype(np.float32)


def pair(moving: NDArray[np.float32], **known: Any) -> Registration:
    """A registration of a texture, by a field of zeros; `known` replaces parts of it."""
    images = np.stack([texture(), moving])
    parts = {
        "fixed": loaded(images[0]),
        "moving": loaded(images[1]),
        "grid": replace(registered().grid, shape=SIZE),
        "image": images,
        "inputs": (images,),
        "foregrounds": images > 0,
        "field": torch.zeros(3, *SIZE),
    }
    return registered(**{**parts, **known})


def quality(registration: Registration, backward: Sequence[float] = (0, 0, 0)) -> NDArray[np.float32]:
    """The quality where the other order's field is the same everywhere, voxels of half the grid."""

    def inferer(image: Tensor, network: nn.Module) -> Tensor:
        assert image.shape == (1, 2, *(n // 2 for n in SIZE))
        return torch.tensor(backward).view(1, 3, 1, 1, 1).expand(1, 3, *image.shape[2:])

    found = estimate_quality(registration, nn.Identity(), inferer, torch.device("cpu")).quality
    assert found is not None and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1  # false for NaN
    return found


def test_identical_images_are_trusted_and_the_background_is_0() -> None:
    found = quality(pair(texture()))
    assert found[BRAIN].min() > 0.9
    assert (found[~BRAIN] == 0).all()
    assert mean_quality(pair(texture(), quality=found))["quality"] == pytest.approx(found[BRAIN].mean())


def test_other_images_are_not_trusted() -> None:
    assert quality(pair(texture(1)))[INNER].mean() < 0.6


def test_a_wrong_field_is_not_trusted_where_it_is_wrong() -> None:
    wrong = torch.zeros(3, *SIZE)
    wrong[1, : SIZE[0] // 2] = 6
    found = quality(pair(texture(), field=wrong))
    inner = BRAIN & (np.abs(np.indices(SIZE)[0] - SIZE[0] // 2) > 4)  # windows that lie in one half
    assert found[inner & LEFT].mean() < 0.45
    assert found[inner & ~LEFT].min() > 0.9


def test_both_orders_must_agree() -> None:
    away = (3, 0, 0)
    agreed, apart = (quality(pair(texture()), backward) for backward in ((0, 0, 0), away))
    assert (apart[BRAIN] < agreed[BRAIN]).all()
    there = torch.full((3, *SIZE), 0.0)
    there[0] = -6
    moving = np.roll(texture(), -6, axis=0)
    inner = BRAIN & (np.indices(SIZE)[0] > 12)
    assert quality(pair(moving, field=there), away)[inner].mean() > 0.9


def test_what_is_unknown_is_0() -> None:
    hole = np.zeros(SIZE, bool)
    hole[10:14, 10:14, 10:14] = True
    fixed, moving = (np.stack([region, hole ^ region]) for region in (hole, np.zeros_like(hole)))
    for unknown in (fixed, moving):
        found = quality(pair(texture(), unknown=unknown))
        assert (found[hole] == 0).all()
        assert found[BRAIN & (np.indices(SIZE)[0] > 16)].min() > 0.9


def test_quality_lies_on_the_grid_of_the_fixed_image() -> None:
    """The fixed image is flipped, cropped and lies elsewhere than the network's grid begins."""
    affine = np.diag([-1.0, 1, 1, 1])
    affine[:3, 3] = SIZE[0] - 1, 2, 0
    fixed = loaded(texture()[::-1, 2:], affine)
    wrong = torch.zeros(3, *SIZE)
    wrong[1, : SIZE[0] // 2] = 6
    np.testing.assert_allclose(
        quality(pair(texture(), field=wrong, fixed=fixed)), quality(pair(texture(), field=wrong))[::-1, 2:], atol=1e-6
    )


def test_quality_of_a_label_is_that_of_its_border() -> None:
    values = np.zeros(SIZE, np.float32)
    values[:8] = 0.25
    values[8:] = 0.75
    labels = np.zeros(SIZE, np.int32)
    labels[:16] = 3000
    labels[16:] = 7  # the border is between 15 and 16
    registration = pair(texture(), fixed=loaded(texture(), label=labels), quality=values)
    assert label_quality(registration, None) == {"3000": 0.75, "7": 0.75}
    assert label_quality(registration, [7]) == {"7": 0.75}
    assert label_quality(replace(registration, quality=None), None) is None


# --- real brains ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registered_people(shared_data: Path) -> Result:
    folder = shared_data / "oasis35"

    def files(kind: str) -> list[str]:
        return [str(folder / kind / f"OASIS_{person}_0000.nii.gz") for person in ("1003", "1010")]

    fixed, moving = files("imagesTr")
    fixed_label, moving_label = files("labelsTr")
    return register(fixed, moving, fixed_label=fixed_label, moving_label=moving_label, device="cpu")


def share_of_near_borders(registration: Registration, places: NDArray[np.bool_]) -> tuple[float, float]:
    """Of the borders of labels in some places: the share that is near, and the mean of the quality."""
    fixed, moving = registration.images
    assert fixed.label is not None and moving.label is not None and registration.quality is not None
    warped = resample(moving.label, moving.scan.affine, fixed.scan.grid, registration.warp, "nearest")
    labels = [value for value in np.unique(fixed.label).tolist() if value not in (0, 42, 43, 63, 64)]  # not anatomy
    voxels, distances = border_distances(fixed.label, warped, labels, fixed.scan.affine, every=20)
    counted = (places & fixed.foreground)[tuple(voxels.T)]
    near = distances[counted] <= QUALITY_LIMIT + 1e-3
    return near.mean(), registration.quality[tuple(voxels[counted].T)].mean()


@pytest.mark.slow
def test_it_says_how_many_borders_are_near_also_where_the_field_is_wrong(registered_people: Result) -> None:
    """The field is shifted by 6 mm in the left half of the brain."""
    registration = registered_people.registration
    wrong = registration.field.clone()
    middle = int(np.median(np.argwhere(registration.foregrounds[0])[:, 0]))
    wrong[1, :middle] += 6
    network = load_weights(read_configs(str(CONFIG)).get_parsed_content("network_def"), WEIGHTS)
    wrongly = fuse(replace(registration, field=wrong))
    shifted = estimate_quality(wrongly, network, PaddedInferer(False), torch.device("cpu"))
    left = np.indices(registration.fixed.foreground.shape)[0] < middle - 10
    right = np.indices(registration.fixed.foreground.shape)[0] > middle + 10
    near, said = share_of_near_borders(registration, left | right)
    assert said == pytest.approx(near, abs=0.05) and near > 0.7
    near, said = share_of_near_borders(shifted, left)
    assert near < 0.45 and said < 0.45
    _, said = share_of_near_borders(shifted, right)
    assert said == pytest.approx(share_of_near_borders(registration, right)[1], abs=1e-4)  # bfloat16 or not


@pytest.mark.slow
def test_saved_quality_is_that_of_the_result(registered_people: Result, tmp_path: Path) -> None:
    registered_people.save(tmp_path)
    saved = nib.load(tmp_path / "quality.nii.gz")
    np.testing.assert_allclose(saved.get_fdata(), registered_people.quality.get_fdata(), atol=0.5 / 255 + 1e-6)
    assert saved.get_data_dtype() == np.uint8
