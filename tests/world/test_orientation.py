import itertools

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from scripts.world import reorient_from_ras, reorient_to_ras

CODES = ["".join(c) for p in itertools.permutations(["RL", "AP", "SI"]) for c in itertools.product(*p)]
RAS_AFFINE = np.array([[1.1, 0.05, 0, -20], [-0.05, 0.9, 0.1, 30], [0, -0.1, 1.6, 5], [0, 0, 0, 1]])


def affine_of(codes, shape):
    """An affine near the named axes: that of an oblique RAS image whose voxels were reordered."""
    orientation = axcodes2ornt(codes)
    ras_shape = tuple(shape[int(np.flatnonzero(orientation[:, 0] == axis)[0])] for axis in range(3))
    to_codes = nib.orientations.ornt_transform(axcodes2ornt("RAS"), orientation)
    return RAS_AFFINE @ inv_ornt_aff(to_codes, ras_shape)


@pytest.mark.parametrize("codes", CODES)
def test_every_voxel_keeps_its_world_position(codes):
    shape = (3, 4, 5)
    affine = affine_of(codes, shape)
    assert "".join(nib.aff2axcodes(affine)) == codes
    indices = np.stack(np.indices(shape), axis=-1)
    positions = indices @ affine[:3, :3].T + affine[:3, 3]

    reoriented, new_affine = reorient_to_ras(positions, affine)

    assert nib.aff2axcodes(new_affine) == ("R", "A", "S")
    new_indices = np.stack(np.indices(reoriented.shape[:3]), axis=-1)
    np.testing.assert_allclose(reoriented, new_indices @ new_affine[:3, :3].T + new_affine[:3, 3], atol=1e-12)


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("channels", [(), (3,)])
def test_there_and_back_is_identity(codes, channels):
    shape = (3, 4, 5)
    array = np.random.default_rng(0).random((*shape, *channels)).astype(np.float32)
    affine = affine_of(codes, shape)
    back = reorient_from_ras(reorient_to_ras(array, affine)[0], affine)
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype


def test_result_is_contiguous_for_torch():
    affine = affine_of("LPI", (3, 4, 5))
    array = np.zeros((3, 4, 5), np.float32)
    assert reorient_to_ras(array, affine)[0].flags.c_contiguous
    assert reorient_from_ras(array, affine).flags.c_contiguous


def test_ras_is_left_alone():
    array = np.arange(60.0).reshape(3, 4, 5)
    reoriented, affine = reorient_to_ras(array, RAS_AFFINE)
    np.testing.assert_array_equal(reoriented, array)
    np.testing.assert_array_equal(affine, RAS_AFFINE)


def test_refuses_an_axis_that_goes_nowhere():
    with pytest.raises(ValueError, match="maps a voxel axis to nothing"):
        reorient_to_ras(np.zeros((2, 2, 2)), np.diag([1.0, 0, 1, 1]))


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 2, 1, 3)])
def test_refuses_other_dimensions(shape):
    with pytest.raises(ValueError, match="expected"):
        reorient_to_ras(np.zeros(shape), np.eye(4))
