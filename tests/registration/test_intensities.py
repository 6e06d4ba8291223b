# SPDX-License-Identifier: Apache-2.0
"""Images in the contrast of another one: which function of the intensities is found."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from scripts.registration.intensities import in_either_contrast

SIZE = (40, 44, 36)


def tissue() -> NDArray[np.float32]:
    """Smooth noise in [0.1, 1] in a ball, 0 around it."""
    values = gaussian_filter(np.random.default_rng(0).normal(size=SIZE), 2)
    inside = np.linalg.norm(np.indices(SIZE) - np.reshape([20, 22, 18], (3, 1, 1, 1)), axis=0) < 15
    return np.where(inside, 0.1 + 0.9 * (values - values.min()) / np.ptp(values), 0).astype(np.float32)


def images(contrast: Callable, offset: int = 0) -> NDArray[np.float32]:
    """Tissue, and the same tissue in another contrast, some voxels off."""
    other = np.where(tissue() > 0, contrast(tissue()), 0)
    return np.stack([tissue(), shift(other, (offset, 0, 0), order=0)]).astype(np.float32)


@pytest.mark.parametrize(
    "contrast",
    [lambda x: 1.1 - x, lambda x: x**2, lambda x: 0.9 - 0.6 * x, lambda x: np.minimum(x, 1.1 - x)],
    ids=["inverted", "darker", "faint", "brightest in the middle"],
)
def test_second_contrast_is_a_function_of_the_first(contrast: Callable) -> None:
    image = images(contrast)
    _, in_second = in_either_contrast(image, image > 0)
    np.testing.assert_allclose(in_second[0], image[1], atol=0.04)
    assert in_second[1] is not image[1] and (in_second[1] == image[1]).all()


def test_places_that_do_not_correspond_leave_the_order_of_tissues() -> None:
    """Three voxels off, more than the width of the structures."""
    image = images(lambda x: 1.1 - x, offset=3)
    in_first, _ = in_either_contrast(image, image > 0)
    wanted = np.where(image[1] > 0, 1.1 - image[1], 0)
    inside = image[1] > 0
    assert np.corrcoef(in_first[1][inside], wanted[inside])[0, 1] > 0.9
    assert (in_first[1][~inside] == 0).all()


def test_what_does_not_count_is_not_learned_from() -> None:
    image = images(lambda x: 1.1 - x)
    spoiled = image.copy()
    spoiled[0, 15:25, 15:25, 15:25] = 1
    shown = spoiled > 0
    shown[0, 15:25, 15:25, 15:25] = False
    in_first, _ = in_either_contrast(spoiled, shown)
    np.testing.assert_allclose(in_first[1], image[0], atol=0.04)


def test_images_with_nothing_in_common_stay_as_they_are() -> None:
    image = images(lambda x: 1.1 - x)
    shown = image > 0
    shown[0] = False
    for result in in_either_contrast(image, shown):
        np.testing.assert_array_equal(result, image)
