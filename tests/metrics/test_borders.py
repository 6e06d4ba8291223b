# SPDX-License-Identifier: Apache-2.0
"""Borders of labels, and their distances, against values worked out by hand."""

import numpy as np

from scripts.metrics import border_distances, border_voxels

AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])


def cube(start: int, value: int = 7) -> np.ndarray:
    """A cube of 4 voxels along each axis, from `start` on along the last."""
    label_map = np.zeros((12, 12, 16), np.uint16)
    label_map[4:8, 4:8, start : start + 4] = value
    return label_map


def test_border_is_on_both_sides_of_a_face_and_not_at_the_end_of_the_volume() -> None:
    halves = np.zeros((6, 3, 3), int)
    halves[3:] = 500
    marked = border_voxels(halves)
    assert marked[2:4].all()
    assert marked.sum() == 2 * 9


def test_distances_are_in_mm_and_those_of_the_same_label() -> None:
    voxels, distances = border_distances(cube(4), cube(5), [7], AFFINE)
    assert len(voxels) == 4**3 - 2**3
    outer = voxels[:, 2] == 4  # the face that the other cube has left behind
    np.testing.assert_allclose(distances[outer], 2.0)
    inner = (voxels[:, 2] == 7) & ((voxels[:, :2] > 4) & (voxels[:, :2] < 7)).all(axis=1)
    np.testing.assert_allclose(distances[inner], 1.0)  # the other's side is nearer than its face
    assert border_distances(cube(4), cube(4), [7], AFFINE)[1].max() == 0


def test_labels_that_one_map_lacks_or_nobody_asks_for_are_left_out() -> None:
    voxels, distances = border_distances(cube(4), cube(4, 8), [7, 8, 9], AFFINE)
    assert voxels.shape == (0, 3) and distances.shape == (0,)
    assert len(border_distances(cube(4), cube(4), [8], AFFINE)[0]) == 0


def test_every_third_voxel_of_the_border() -> None:
    voxels, distances = border_distances(cube(4), cube(4), [7], AFFINE, every=3)
    assert len(voxels) == len(distances) == 19  # of 56
