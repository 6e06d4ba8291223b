# SPDX-License-Identifier: Apache-2.0
"""Bad arguments end in an exception of one line."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from scripts.api import Result, apply, register
from scripts.geometry import Affine
from scripts.networks import MSFBNet
from scripts.runtime import InputError
from tests.api.examples import AFFINE, ON_CPU

pytestmark = pytest.mark.usefixtures("keep_any_deformation", "tiny_config")

HEAD = np.arange(6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
POINTS = np.zeros((3, 3))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fixed": "missing.nii.gz"}, ["missing.nii.gz", "no such file"]),
        ({"fixed": (np.full_like(HEAD, np.nan), AFFINE)}, ["every voxel is NaN"]),
        ({"fixed": (HEAD * 0, AFFINE)}, ["every voxel is 0"]),
        ({"fixed": (HEAD[0], AFFINE)}, ["2-D image (7x8)"]),
        ({"fixed": (HEAD * 1j, AFFINE)}, ["complex64"]),
        ({"fixed": (HEAD.astype(object), AFFINE)}, ["object"]),
        ({"fixed": (HEAD, AFFINE[:3])}, ["affine", "(4, 4)"]),
        ({"fixed": (HEAD, AFFINE * 0)}, ["affine", "(4, 4)"]),
        ({"fixed": (HEAD, AFFINE * np.nan)}, ["affine", "(4, 4)"]),
        ({"moving": (np.stack([HEAD, HEAD], axis=-1), AFFINE)}, ["4-D with several volumes"]),
        ({"fixed_label": (HEAD + 0.5, AFFINE)}, ["label map holds whole numbers"]),
        ({"fixed_mask": (HEAD[..., :0], AFFINE)}, ["6x7x0"]),
        ({"fixed_landmarks": POINTS, "moving_landmarks": POINTS[1:]}, ["3 landmarks", "2"]),
        ({"fixed_landmarks": POINTS[:, :2]}, ["(3, 2)"]),
        ({"fixed_landmarks": "missing.csv"}, ["missing.csv", "no such file"]),
        ({"init": "afine"}, ["afine", "affine, rigid, none"]),
        ({"init": np.eye(3)}, ["init", "(4, 4)"]),
        ({"init": np.zeros((4, 4))}, ["init", "(4, 4)"]),
        ({"refine": -1}, ["-1", "whole number"]),
        ({"refine": 2.5}, ["2.5", "whole number"]),
        ({"weights": "missing.pt", "network": None}, ["missing.pt", "no such file"]),
    ],
)
def test_bad_input_is_one_line(
    given: dict, words: list[str], pair: SimpleNamespace, random_network: MSFBNet, refused: Callable
) -> None:
    with refused(*words):
        register(**{"fixed": pair.fixed, "moving": pair.moving, "network": random_network, **ON_CPU, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"transform": "missing.mat"}, ["missing.mat", "no such file"]),
        ({"image": "missing.nii.gz"}, ["missing.nii.gz", "no such file"]),
        ({"image": (HEAD.reshape(6, 7, 8, 1, 1)[..., [0, 0]], AFFINE)}, ["5-D"]),
        ({"reference": "missing.nii.gz"}, ["missing.nii.gz", "no such file"]),
        ({"transform": Affine(np.eye(4))}, ["no grid of its own", "reference"]),
    ],
)
def test_bad_input_of_apply_is_one_line(given: dict, words: list[str], result: Result, refused: Callable) -> None:
    with refused(*words):
        apply(**{"transform": result, "image": (HEAD, AFFINE), **given})


def test_errors_are_those_that_a_program_can_catch(pair: SimpleNamespace, random_network: MSFBNet) -> None:
    with pytest.raises(InputError, match=r"missing\.nii"):  # itself, not wrapped
        register(pair.fixed, "missing.nii", network=random_network)
