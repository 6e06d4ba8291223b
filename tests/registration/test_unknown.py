# SPDX-License-Identifier: Apache-2.0
"""What is excluded does not count: it changes nothing what an image shows there, and the field goes on smoothly."""

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from scripts.api import register
from scripts.networks import MSFBNet, PaddedInferer
from scripts.registration import ImageSources, Job, align_pair, predict, read_pair, to_network_grid
from scripts.registration.unknown import holes, without_region
from scripts.runtime import InputError

pytestmark = pytest.mark.usefixtures("keep_any_deformation", "tiny_config")

SIZE = (48, 56, 44)
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])


def ball(center: tuple[int, int, int], radius: float, size: tuple[int, ...] = SIZE) -> NDArray[np.bool_]:
    return np.linalg.norm(np.indices(size) - np.reshape(center, (3, 1, 1, 1)), axis=0) < radius


BRAIN = ball((24, 28, 22), 18)
HOLE = ball((27, 30, 20), 5)
NOTCH = ball((24, 28, 38), 6)  # at the surface


def brain(seed: int) -> NDArray[np.float32]:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=SIZE), 2)
    return np.where(BRAIN, 100 + 300 * noise, 0).clip(0).astype(np.float32)


def test_holes_are_surrounded_on_all_sides() -> None:
    assert (holes(BRAIN & ~HOLE) == HOLE).all()
    assert not holes(BRAIN).any() and not holes(BRAIN & ~NOTCH).any()


def test_image_is_continued_from_around_the_region() -> None:
    slope = np.broadcast_to(np.linspace(10, 20, SIZE[0], dtype=np.float32)[:, None, None], SIZE)
    filled = without_region(np.where(HOLE, 1e4, slope), HOLE, None)
    assert (filled[~HOLE] == slope[~HOLE]).all()
    assert filled[HOLE].min() > 10 and filled[HOLE].max() < 20


def test_skull_is_not_continued_into_the_brain() -> None:
    """The brain is 10, the skull around its mask 1000: what is excluded at its surface lies between 0 and 10."""
    head = np.where(BRAIN, 10.0, np.where(ball((24, 28, 22), 20), 1000.0, 0.0)).astype(np.float32)
    filled = without_region(head, NOTCH & BRAIN, BRAIN)
    assert (filled[~(NOTCH & BRAIN)] == head[~(NOTCH & BRAIN)]).all()
    assert filled[NOTCH & BRAIN].min() >= -1 and filled[NOTCH & BRAIN].max() < 12


@pytest.mark.parametrize("role", ["fixed", "moving"])
@pytest.mark.parametrize(
    "region", [pytest.param(HOLE, id="inside"), pytest.param(NOTCH, id="at the surface", marks=pytest.mark.slow)]
)
def test_what_an_image_shows_in_an_excluded_region_changes_nothing(
    random_network: MSFBNet, role: str, region: NDArray
) -> None:
    warps = []
    for content in (0, 1000):
        images = {"fixed": (brain(0), AFFINE), "moving": (brain(1), AFFINE)}
        images[role] = (np.where(region, content, images[role][0]).astype(np.float32), AFFINE)
        exclude = {f"{role}_exclude": (region, AFFINE)}
        result = register(**images, **exclude, network=random_network, init="none", device="cpu")
        assert result.metrics[role]["excluded_ml"] == pytest.approx(8 * region.sum() / 1000)
        warps.append(result.warp.displacement)
    assert (warps[0] == warps[1]).all()


def test_excluding_a_region_is_the_same_as_a_hole_of_the_mask(random_network: MSFBNet) -> None:
    images = {"fixed": (brain(0), AFFINE), "moving": (brain(1), AFFINE), "network": random_network, "init": "none"}
    hole = register(**images, fixed_mask=(BRAIN & ~HOLE, AFFINE), device="cpu")
    excluded = register(**images, fixed_mask=(BRAIN, AFFINE), fixed_exclude=(HOLE, AFFINE), device="cpu")
    assert (hole.warp.displacement == excluded.warp.displacement).all()
    assert hole.metrics["fixed"]["excluded_ml"] == pytest.approx(8 * HOLE.sum() / 1000)


def test_an_exclusion_of_nearly_all_is_refused(random_network: MSFBNet) -> None:
    with pytest.raises(InputError, match=r"excludes 100 % of what .* shows; .* a mask of what counts is a brain mask"):
        register(*[(brain(0), AFFINE)] * 2, moving_exclude=(BRAIN, AFFINE), network=random_network, device="cpu")


def test_an_exclusion_beside_the_brain_is_warned_of(random_network: MSFBNet) -> None:
    beside = (np.indices(SIZE)[0] < 4, AFFINE)
    pair = [(brain(0), AFFINE)] * 2
    result = register(*pair, fixed_exclude=beside, network=random_network, init="none", device="cpu")
    (warning,) = (text for text in result.metrics["fixed"]["warnings"] if "exclude" in text)
    assert "excludes nothing of what the image shows" in warning and result.metrics["verdict"] != "pass"


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


def test_mask_without_holes_excludes_nothing(random_network: MSFBNet) -> None:
    images = {"fixed": (brain(0), AFFINE), "moving": (brain(1), AFFINE)}
    result = register(**images, fixed_mask=(BRAIN, AFFINE), network=random_network, init="none", device="cpu")
    assert "excluded_ml" not in result.metrics["fixed"]


def test_what_is_shown_to_the_network_beyond_a_cut_is_not_shown_in_the_report(random_network: MSFBNet) -> None:
    """The report draws `image`: there the cut scan stays black, and must not look as if it were whole."""
    cut = nib.Nifti1Image(brain(1)[:, :, :30], AFFINE)
    fixed, moving = ImageSources(image=nib.Nifti1Image(brain(0), AFFINE)), ImageSources(image=cut)
    pair = read_pair(Job(name="pair", folder="", fixed=fixed, moving=moving))
    assert [found.side for found in pair.moving.cuts] == ["top"]
    prepared = to_network_grid(align_pair(pair, np.eye(4), 0), random_network.multiple, 2.0, [1, 1, 1])
    found = predict(prepared, random_network, PaddedInferer(False), torch.device("cpu"))
    beyond = found.unknown[1]
    assert (found.image == prepared.image).all() and found.image[1][beyond].max() < 0.01
    assert (found.seen[:, ~beyond] == found.image[:, ~beyond]).all()
    assert found.seen[1][beyond] == pytest.approx(found.image[0][beyond], abs=1e-5)
