# SPDX-License-Identifier: Apache-2.0
"""What every test may use."""

import os
from pathlib import Path

# Idle threads sleep: on a busy machine, spinning ones would slow down every other process. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hypothesis
import pytest
import torch

pytest_plugins = [f"tests.fixtures.{name}" for name in ("networks", "bundle", "datasets", "files", "grids", "heads")]

# They run in a checkout of the Model Zoo: tests/release/test_packaging.py makes one.
collect_ignore = ["zoo"]

# Two threads on any machine: timings compare, and a many-core host gives the same sums.
torch.set_num_threads(2)
# A slow or busy machine fails no property, and a red test is the fault of the change, not of the draw.
hypothesis.settings.register_profile("bundle", deadline=None, derandomize=True)
hypothesis.settings.load_profile("bundle")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real brains: MSFBNET_DATA, or shared/data beside the checkout; the test is skipped without it."""
    folder = Path(os.environ.get("MSFBNET_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real brains at {folder} (set MSFBNET_DATA)")
    return folder
