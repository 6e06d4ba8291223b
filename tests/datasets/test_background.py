# SPDX-License-Identifier: Apache-2.0
"""What is background where the faces of a volume show tissue, and with a mask."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from scripts.datasets import foreground, lies_in_background, looks_skull_stripped, scale_intensity

SIZE = (60, 72, 56)
DEPTH = 1 - np.sqrt(sum(axis**2 for axis in np.meshgrid(*[np.linspace(-1, 1, n) for n in SIZE], indexing="ij"))) / 0.8
BRAIN = DEPTH > 0


def brain() -> NDArray[np.float64]:
    """Values of about 200 to 900, darker towards the surface, 0 outside."""
    texture = 550 + 2200 * gaussian_filter(np.random.default_rng(0).normal(size=SIZE), 2)
    return np.where(BRAIN, texture.clip(200, 900), 0)


def cropped(values: NDArray, box: tuple[slice, ...], margin: int = 0) -> NDArray:
    """Part of a volume, cropped to the brain that it shows."""
    places = np.argwhere(BRAIN[box])
    low, high = np.maximum(places.min(axis=0) - margin, 0), places.max(axis=0) + 1 + margin
    return values[box][tuple(map(slice, low.tolist(), high.tolist()))]


def slab(axis: int, start: int = 24, thick: int = 8) -> tuple[slice, ...]:
    return tuple(slice(start, start + thick) if place == axis else slice(None) for place in range(3))


FOUR_CUTS = (slice(20, 40), slice(None), slice(24, 34))  # a slab of a slab: tissue even on most of the edges


def agreement(found: NDArray, truth: NDArray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


@pytest.mark.parametrize("box", [slab(0), slab(1, 32), slab(2), slab(2, 18, 5), FOUR_CUTS])
@pytest.mark.parametrize("background", [0.0, -1024.0])
def test_slab_that_is_cropped_to_the_brain_is_read(box: tuple[slice, ...], background: float) -> None:
    values, truth = cropped(np.where(BRAIN, brain(), background), box), cropped(BRAIN, box)
    assert np.mean([np.moveaxis(truth, axis, 0)[[0, -1]].mean() for axis in range(3)]) > 0.3
    np.testing.assert_array_equal(foreground(values), truth)
    scaled = scale_intensity(values)
    assert not scaled[~truth].any()
    assert looks_skull_stripped(values, np.diag([2.5, 2.5, 2.5, 1]))


def test_slab_has_the_intensities_of_the_whole() -> None:
    box = slab(2)
    whole, part = cropped(scale_intensity(brain()), box), scale_intensity(cropped(brain(), box))
    assert np.abs(part - whole).max() < 0.05


@pytest.mark.parametrize(("noise", "least"), [(1e-3, 0.999), (10, 0.999), (30, 0.99)])
def test_slab_on_noise_is_read(noise: float, least: float) -> None:
    """No constant background: what resampling leaves, and air."""
    box, generator = slab(2), np.random.default_rng(1)
    real, imaginary = noise * generator.normal(size=(2, *SIZE))
    values = cropped(np.hypot(brain() + real, imaginary), box, margin=1)
    assert agreement(foreground(values), cropped(BRAIN, box, margin=1)) > least


@pytest.mark.parametrize("background", [0.0, -0.37, -4.0, 2000.0])
def test_slab_of_any_scale_is_read(background: float) -> None:
    """z-scored, with the background inside, below and above the range."""
    scored = np.where(BRAIN, (brain() - 550) / 150, background)
    np.testing.assert_array_equal(foreground(cropped(scored, slab(2))), cropped(BRAIN, slab(2)))


@pytest.mark.parametrize("background", [-1024.0, -30000.0])
def test_background_far_below_a_brain_does_not_flatten_it(background: float) -> None:
    scaled = scale_intensity(np.where(BRAIN, 0.25 * brain(), background))
    assert not scaled[~BRAIN].any()
    low, high = np.percentile(brain()[BRAIN], [0.5, 99.5])
    np.testing.assert_allclose(scaled[BRAIN], ((brain() - low) / (high - low)).clip(0, 1)[BRAIN], atol=0.01)


@pytest.mark.parametrize("padding", [-500.0, 5000.0])
def test_padding_around_a_slab_changes_nothing(padding: float) -> None:
    values = cropped(brain(), slab(2))
    padded = np.pad(values, 3, constant_values=padding)
    np.testing.assert_array_equal(scale_intensity(padded)[3:-3, 3:-3, 3:-3], scale_intensity(values))


def test_brain_that_touches_all_faces_is_read() -> None:
    box = (slice(None),) * 3
    np.testing.assert_array_equal(foreground(cropped(brain(), box)), cropped(BRAIN, box))


def test_part_of_a_brain_without_background_shows_nothing_by_itself_and_all_with_a_mask() -> None:
    core = brain()[20:40, 24:48, 18:38]
    assert not foreground(core).any()
    assert not scale_intensity(core).any()
    everything = np.ones(core.shape, np.uint8)
    assert foreground(core, everything).all()
    assert np.std(scale_intensity(core, everything)) > 0.1


@pytest.mark.parametrize("name", ["oasis35/imagesTr/OASIS_1010_0000.nii.gz", "aomic/sub-0002/norm.mgz"])
def test_slabs_of_real_brains_are_read(shared_data: Path, name: str) -> None:
    """20 mm across each axis, cropped to the brain; dark voxels near the surface are the rest."""
    values = np.asarray(nib.load(shared_data / name).dataobj)
    places = np.argwhere(values > 0)
    middle = places.mean(axis=0).astype(int)
    for axis in range(3):
        part = values.take(range(middle[axis] - 10, middle[axis] + 10), axis)
        shown = np.argwhere(part > 0)
        part = part[tuple(map(slice, shown.min(axis=0), shown.max(axis=0) + 1))]
        assert agreement(foreground(part), part > 0) > 0.97


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [slab(0), slab(2), FOUR_CUTS])
def test_masked_slab_is_read_whatever_is_around_it(box: tuple[slice, ...]) -> None:
    truth = cropped(BRAIN, box)
    around = np.random.default_rng(2).uniform(0, 1500, SIZE)
    for outside in (0, -1024, around):
        values = cropped(np.where(BRAIN, brain(), outside), box)
        assert agreement(foreground(values, truth), truth) > 0.998
        assert not scale_intensity(values, truth)[~truth].any()


@pytest.mark.parametrize("around", [(0, 300), (0, 1800), (400, 900)])
def test_noise_outside_of_a_mask_hides_nothing_inside(around: tuple[float, float]) -> None:
    """From salt and pepper over the whole range, as in images of ratios, to noise as bright as the brain."""
    noisy = np.where(BRAIN, brain(), np.random.default_rng(3).uniform(*around, SIZE))
    assert agreement(foreground(noisy, BRAIN), BRAIN) > 0.998
    ours, clean = scale_intensity(noisy, BRAIN)[BRAIN], scale_intensity(brain(), BRAIN)[BRAIN]
    assert np.corrcoef(ours, clean)[0, 1] > 0.99
    assert np.ptp(np.percentile(ours, [5, 95])) > 0.4


def test_noise_at_the_faces_alone_changes_nothing_inside_a_mask() -> None:
    clean = brain()
    spoilt = np.random.default_rng(4).uniform(0, 2000, SIZE)
    spoilt[1:-1, 1:-1, 1:-1] = clean[1:-1, 1:-1, 1:-1]
    np.testing.assert_array_equal(scale_intensity(spoilt, BRAIN), scale_intensity(clean, BRAIN))


def test_mask_of_everything_is_like_none() -> None:
    for values in (brain(), np.hypot(brain(), 40 * np.random.default_rng(5).normal(size=SIZE))):
        np.testing.assert_array_equal(scale_intensity(values, np.ones(SIZE)), scale_intensity(values))


def test_mask_with_some_background_in_it_shows_the_brain_only() -> None:
    loose = DEPTH > -0.15
    np.testing.assert_array_equal(foreground(brain(), loose), BRAIN)


def test_mask_beside_the_brain_is_told() -> None:
    corner = np.zeros(SIZE, bool)
    corner[:8, :8, :8] = True
    noisy = np.hypot(brain() + 20 * np.random.default_rng(6).normal(size=SIZE), 20)
    for values in (brain(), noisy, brain() - 1000):
        assert lies_in_background(values, corner)
        for fitting in (BRAIN, DEPTH > 0.5, DEPTH > -0.2, np.ones(SIZE, bool)):
            assert not lies_in_background(values, fitting)
