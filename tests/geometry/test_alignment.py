# SPDX-License-Identifier: Apache-2.0
"""The affine between two scans is found from anywhere, and does not depend on how they are stored."""

from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import inv_ornt_aff
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from scripts.geometry.alignment import align, has_one_scale
from scripts.geometry.grid import Grid
from scripts.geometry.resample import resample
from scripts.geometry.transforms import Affine
from scripts.synthesis.anatomies import phantom_anatomy

SIZE = (48, 60, 48)


@pytest.fixture(scope="module")
def phantom() -> tuple[NDArray, NDArray]:
    """A brain with lopsided spots, so that no rotation or mirror image of it looks the same."""
    anatomy = phantom_anatomy(SIZE)
    image = anatomy.intensities.numpy().copy()
    spots = np.zeros(SIZE)
    for place, value in (((15, 40, 30), 1.0), ((30, 20, 34), -1.0), ((24, 44, 14), -1.0), ((33, 34, 26), 1.0)):
        spots[place] = value * 250
    image = np.where(image > 0, (image + 1.5 * gaussian_filter(spots, 3.0)).clip(0.12, 1), 0).astype(np.float32)
    affine = np.diag([anatomy.spacing] * 3 + [1.0])
    affine[:3, 3] = -affine[:3, :3].diagonal() * (np.array(SIZE) - 1) / 2
    return image, affine


@pytest.fixture(scope="module")
def pair(phantom: tuple[NDArray, NDArray]) -> tuple[NDArray, NDArray, NDArray]:
    """A second scan, and the affine from the first to it."""
    image, affine = phantom
    truth = np.eye(4)
    truth[:3, :3] = Rotation.from_euler("xyz", [8, -6, 10], degrees=True).as_matrix() @ np.diag([1.06, 0.96, 1.03])
    truth[:3, 3] = [9, -14, 6]
    grid = affine.copy()
    grid[:3, 3] -= 24
    shape = np.array(SIZE) + 16
    return resample(image, affine, Grid(tuple(shape.tolist()), grid), Affine(np.linalg.inv(truth))), grid, truth


@pytest.fixture(scope="module")
def found(phantom: tuple[NDArray, NDArray], pair: tuple[NDArray, NDArray, NDArray]) -> NDArray:
    return align(*phantom, *pair[:2])


def distance(first: NDArray, second: NDArray, phantom: tuple[NDArray, NDArray]) -> float:
    """Largest distance between two maps over the brain, mm."""
    points = Affine(phantom[1])(np.argwhere(phantom[0] > 0)[::7].astype(float))
    return float(np.linalg.norm(Affine(first)(points) - Affine(second)(points), axis=1).max())


def turned(rotvec: NDArray, shift: NDArray) -> NDArray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def test_known_affine_is_found_within_a_millimeter(found: NDArray, pair: tuple, phantom: tuple) -> None:
    assert distance(found, pair[2], phantom) < 1.0
    assert not has_one_scale(found)


@pytest.mark.slow
def test_rigid_result_is_a_rotation(phantom: tuple[NDArray, NDArray]) -> None:
    image, affine = phantom
    truth = turned(np.radians([10.0, -20.0, 15.0]), np.array([30.0, -40.0, 20.0]))
    matrix = align(image, affine, image, truth @ affine, kind="rigid")
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)
    assert distance(matrix, truth, phantom) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("side", ["fixed", "moving"])
@pytest.mark.parametrize("storage", ["flipped", "permuted", "padded"])
def test_storage_changes_nothing(side: str, storage: str, found: NDArray, pair: tuple, phantom: tuple) -> None:
    image, affine = phantom if side == "fixed" else pair[:2]
    if storage == "padded":
        affine = affine.copy()
        affine[:3, 3] -= affine[:3, :3] @ [3, 0, 5]
        image = np.pad(image, [(3, 4), (0, 9), (5, 1)])
    else:
        axes = [0, 1, 2] if storage == "flipped" else [2, 0, 1]
        orientation = np.array([axes, [-1, 1, -1]]).T
        affine = affine @ inv_ornt_aff(orientation, image.shape)
        image = nib.orientations.apply_orientation(image, orientation)
    other = align(image, affine, *pair[:2]) if side == "fixed" else align(*phantom, image, affine)
    assert distance(other, found, phantom) < 0.05


@pytest.mark.slow
def test_oblique_resave_changes_the_map_by_less_than_interpolation(found: NDArray, pair: tuple, phantom: tuple) -> None:
    image, affine = phantom
    oblique = affine.copy()
    oblique[:3, :3] = Rotation.from_euler("xyz", [12, -9, 20], degrees=True).as_matrix() @ affine[:3, :3]
    shape = np.array(SIZE) + 24
    oblique[:3, 3] = -oblique[:3, :3] @ ((shape - 1) / 2)
    other = align(resample(image, affine, Grid(tuple(shape.tolist()), oblique)), oblique, *pair[:2])
    assert distance(other, found, phantom) < 1.0  # a third of a voxel


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("degrees", [90, 180])
def test_heads_on_their_side_are_found(axis: str, degrees: int, phantom: tuple[NDArray, NDArray]) -> None:
    image, affine = phantom
    truth = np.eye(4)
    truth[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    assert distance(align(image, affine, image, truth @ affine, kind="rigid"), truth, phantom) < 1.0


@pytest.mark.slow
def test_inverted_contrast_is_aligned(pair: tuple, phantom: tuple) -> None:
    image, affine = phantom
    inverted = np.where(image > 0, 1.1 - image, 0).astype(np.float32)
    assert distance(align(inverted, affine, *pair[:2]), pair[2], phantom) < 1.5


@pytest.mark.slow
def test_mask_leaves_out_what_is_outside(pair: tuple, phantom: tuple, found: NDArray) -> None:
    image, affine = phantom
    spoilt = image.copy()
    spoilt[:, :4] = 1
    assert not image[:, :4].any()
    matrix = align(spoilt, affine, *pair[:2], fixed_mask=image > 0)
    np.testing.assert_array_equal(matrix, found)


@pytest.mark.slow
def test_result_is_the_same_again_and_on_any_number_of_threads(pair: tuple, phantom: tuple, found: NDArray) -> None:
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        np.testing.assert_array_equal(align(*phantom, *pair[:2]), found)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "factor", "degrees"),
    [("fixed", 0.5, (0, 0, 0)), ("moving", 0.6, (0, 20, -100)), ("moving", 2.0, (100, -60, 140))],
)
def test_brains_of_other_sizes_are_found_however_they_are_turned(
    side: str, factor: float, degrees: tuple[float, ...], pair: tuple, phantom: tuple
) -> None:
    change = np.eye(4)
    change[:3, :3] = factor * Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    change[:3, 3] = [10, -20, 5]
    if side == "fixed":
        matrix = align(phantom[0], change @ phantom[1], *pair[:2]) @ change
    else:
        matrix = np.linalg.inv(change) @ align(*phantom, pair[0], change @ pair[1])
    assert distance(matrix, pair[2], phantom) < 1.0


@pytest.mark.slow
def test_rigid_map_has_no_scale_for_a_larger_brain(phantom: tuple[NDArray, NDArray]) -> None:
    image, affine = phantom
    matrix = align(image, affine, image, np.diag([1.4, 1.4, 1.4, 1.0]) @ affine, kind="rigid")
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1.0, 1.5])
def test_wild_stretches_end_in_one_scale_for_all_axes(phantom: tuple[NDArray, NDArray], size: float) -> None:
    image, affine = phantom
    stretch = size * np.array([0.73, 0.73, 1.9])  # of about the same volume where the size is 1
    matrix = align(image, affine, image, np.diag([*stretch, 1.0]) @ affine)
    assert has_one_scale(matrix)
    assert np.linalg.svd(matrix[:3, :3], compute_uv=False) == pytest.approx(size, rel=0.02)


@pytest.mark.slow
def test_similarity_has_one_scale_for_all_axes(phantom: tuple[NDArray, NDArray]) -> None:
    image, affine = phantom
    truth = turned(np.radians([10.0, -20.0, 15.0]), np.array([30.0, -40.0, 20.0])) @ np.diag([1.2, 1.2, 1.2, 1.0])
    matrix = align(image, affine, image, truth @ affine, kind="similarity")
    assert np.linalg.svd(matrix[:3, :3], compute_uv=False) == pytest.approx(1.2, rel=5e-3)
    assert distance(matrix, truth, phantom) < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("side", ["fixed", "moving"])
@pytest.mark.parametrize("height", [12.0, 25.0])  # mm above the center that are still shown
def test_what_is_unknown_is_not_compared(side: str, height: float, pair: tuple, phantom: tuple) -> None:
    """A similarity is found of a scan that ends above its center and shows noise beyond that, and of one that ends."""
    truth = turned(np.radians([20.0, -15.0, 30.0]), np.array([9.0, -14.0, 6.0])) @ np.diag([1.05, 1.05, 1.05, 1.0])
    for content in (0.0, 1.0):
        scans = {"fixed": (phantom[0].copy(), phantom[1]), "moving": (phantom[0].copy(), truth @ phantom[1])}
        image, affine = scans[side]
        last = round(SIZE[2] / 2 + height / phantom[1][2, 2])
        noise = np.random.default_rng(0).uniform(0, content, image[..., last:].shape)
        image[..., last:] = np.where(image[..., last:] > 0, noise, 0)
        matrix = align(*scans["fixed"], *scans["moving"], kind="similarity", **{f"{side}_unknown": above(affine, last)})
        assert distance(matrix, truth, phantom) < 1.5


def above(affine: NDArray, last: int) -> Callable[[Grid], NDArray]:
    """Tells where on a grid the third axis of an image is beyond a voxel."""

    def unknown(grid: Grid) -> NDArray:
        voxels = Affine(np.linalg.inv(affine) @ grid.affine)(np.argwhere(np.ones(grid.shape)).astype(float))
        return (voxels[:, 2] > last - 1).reshape(grid.shape)

    return unknown


def test_unknown_kind_is_refused(phantom: tuple[NDArray, NDArray]) -> None:
    with pytest.raises(ValueError, match="shear"):
        align(*phantom, *phantom, kind="shear")


def test_scan_without_foreground_is_refused(phantom: tuple[NDArray, NDArray]) -> None:
    with pytest.raises(ValueError, match="empty"):
        align(*phantom, np.zeros((5, 5, 5)), np.eye(4))
