# SPDX-License-Identifier: Apache-2.0
"""The pair that the tests of the Python API register, and its result."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from scripts.api import Result, register
from scripts.networks import MSFBNet
from tests.api.examples import AFFINE, MOVING_AFFINE, MOVING_SIZE, ON_CPU, SIZE


@pytest.fixture
def pair(save_scan: Callable, blob: Callable) -> SimpleNamespace:
    """Two heads, as files and as arrays, on grids of other axes and sizes."""
    fixed, moving = (blob(SIZE, 0), AFFINE), (blob(MOVING_SIZE, 1), MOVING_AFFINE)
    paths = [save_scan(f"{name}.nii.gz", *scan) for name, scan in (("F", fixed), ("M", moving))]
    return SimpleNamespace(fixed=fixed, moving=moving, paths=paths)


@pytest.fixture
def result(pair: SimpleNamespace, random_network: MSFBNet) -> Result:
    return register(*pair.paths, network=random_network, **ON_CPU)
