# SPDX-License-Identifier: Apache-2.0
"""Learn2Reg's keypoint files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.io.keypoints import load_keypoints, transform_points
from scripts.runtime.errors import InputError


@pytest.mark.parametrize(
    "content",
    ["x,y,z\n1,2,3\n", "1,2\n3,4\n", "1,2,3\n4,5\n", "1,2,nan\n", "\n"],
    ids=["head", "2", "ragged", "nan", "no"],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_bad_keypoints_are_one_line_naming_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load_keypoints(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_rows_are_points_and_a_matrix_maps_them(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("1,2,3\n4,5.5,6\n")
    points = load_keypoints(path)
    assert points.dtype == torch.float64
    assert points.tolist() == [[1, 2, 3], [4, 5.5, 6]]
    affine = np.array([[0, 2, 0, 1], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
    assert transform_points(points, affine).tolist() == [[5, 1, -3], [12, 4, -6]]
