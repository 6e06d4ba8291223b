# SPDX-License-Identifier: Apache-2.0
"""The holes of a brain mask do not count: what an image shows there changes nothing, and the field goes on smoothly."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, gaussian_filter

from scripts.api import register
from scripts.geometry import jacobian_map
from scripts.networks import MSFBNet
from scripts.registration.excluded import holes, without_region

pytestmark = pytest.mark.usefixtures("keep_any_deformation")

SIZE = (48, 56, 44)
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])


def ball(center: tuple[int, int, int], radius: float, size: tuple[int, ...] = SIZE) -> NDArray[np.bool_]:
    return np.linalg.norm(np.indices(size) - np.reshape(center, (3, 1, 1, 1)), axis=0) < radius


BRAIN = ball((24, 28, 22), 18)
HOLE = ball((27, 30, 20), 5)


def brain(seed: int) -> NDArray[np.float32]:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=SIZE), 2)
    return np.where(BRAIN, 100 + 300 * noise, 0).clip(0).astype(np.float32)


def test_holes_are_surrounded_on_all_sides() -> None:
    assert (holes(BRAIN & ~HOLE) == HOLE).all()
    notch = ball((24, 28, 38), 5)  # at the surface
    assert not holes(BRAIN).any() and not holes(BRAIN & ~notch).any()


def test_image_is_continued_from_around_the_region() -> None:
    slope = np.broadcast_to(np.linspace(10, 20, SIZE[0], dtype=np.float32)[:, None, None], SIZE)
    filled = without_region(np.where(HOLE, 1e4, slope), HOLE)
    assert (filled[~HOLE] == slope[~HOLE]).all()
    assert filled[HOLE].min() > 10 and filled[HOLE].max() < 20


@pytest.mark.slow
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_what_an_image_shows_in_a_hole_changes_nothing(random_network: MSFBNet, role: str) -> None:
    warps = []
    for content in (0, 1000):
        images = {"fixed": (brain(0), AFFINE), "moving": (brain(1), AFFINE)}
        images[role] = (np.where(HOLE, content, images[role][0]).astype(np.float32), AFFINE)
        mask = {f"{role}_mask": (BRAIN & ~HOLE, AFFINE)}
        result = register(**images, **mask, network=random_network, init="none", device="cpu")
        assert result.metrics[role]["excluded_ml"] == pytest.approx(8 * HOLE.sum() / 1000)
        warps.append(result.warp.displacement)
    assert (warps[0] == warps[1]).all()


@pytest.mark.slow
def test_field_of_the_same_motion_everywhere_goes_through_a_hole(random_network: MSFBNet) -> None:
    """Both images show the same, so the field is 0 around the hole, and in it as well."""
    result = register(
        (brain(0), AFFINE),
        (brain(0), AFFINE),
        fixed_mask=(BRAIN & ~HOLE, AFFINE),
        moving_mask=(BRAIN, AFFINE),
        network=random_network,
        init="none",
        device="cpu",
    )
    lengths = np.linalg.norm(result.warp.displacement, axis=-1)
    assert lengths[HOLE].max() <= lengths[BRAIN & ~HOLE].max()


@pytest.mark.slow
def test_mask_without_holes_excludes_nothing(random_network: MSFBNet) -> None:
    images = {"fixed": (brain(0), AFFINE), "moving": (brain(1), AFFINE)}
    result = register(**images, fixed_mask=(BRAIN, AFFINE), network=random_network, init="none", device="cpu")
    assert "excluded_ml" not in result.metrics["fixed"] and "excluded" not in result.metrics["timings"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fixed", "moving", "center", "radius", "bound"),
    [
        ("1003", "1010", (110, 130, 105), 18, 2.0),  # 24 ml of white matter, moved by 3.0 mm with the whole mask
        ("1101", "1128", (60, 140, 120), 12, 3.0),  # 7 ml of cortex, moved by 8.4 mm
    ],
)
def test_healthy_tissue_in_a_hole_moves_with_its_surroundings(
    shared_data: Path, fixed: str, moving: str, center: tuple[int, int, int], radius: int, bound: float
) -> None:
    """Nothing tells the motion in the hole but what is around it; a hole of zeros was wrong by 8.5 mm in the first."""
    paths = [shared_data / "oasis35" / "imagesTr" / f"OASIS_{person}_0000.nii.gz" for person in (fixed, moving)]
    image = nib.load(paths[0])
    whole = binary_fill_holes(np.asarray(image.dataobj) > 0)
    hole = ball(center, radius, whole.shape)
    fields = [register(*paths, fixed_mask=(mask, image.affine), device="cpu").warp for mask in (whole, whole & ~hole)]
    differences = np.linalg.norm(fields[0].displacement - fields[1].displacement, axis=-1)
    assert differences[hole].mean() < bound
    assert differences[whole & ~hole].mean() < 0.15
    assert jacobian_map(fields[1])[hole].min() > 0.2
