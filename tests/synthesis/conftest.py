# SPDX-License-Identifier: Apache-2.0
"""Anatomies of both kinds."""

import pytest

from scripts.synthesis.anatomies import Anatomy, icbm_anatomy, phantom_anatomy
from tests.synthesis.examples import SMALL_SIZE


@pytest.fixture(scope="session", params=["shapes", "icbm"])
def anatomy(request: pytest.FixtureRequest) -> Anatomy:
    if request.param == "icbm":
        pytest.importorskip("nilearn")
        return icbm_anatomy(SMALL_SIZE)
    return phantom_anatomy(SMALL_SIZE)
