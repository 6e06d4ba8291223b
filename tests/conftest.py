# SPDX-License-Identifier: Apache-2.0
"""What every test may use."""

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

# Idle threads sleep: on a busy machine, spinning ones would slow down every other process. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# `make test` runs a process per core. One thread in each, on any machine: a many-core host gives the same sums.
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import pytest

pytest_plugins = [f"tests.fixtures.{name}" for name in ("networks", "bundle", "datasets", "files", "grids", "heads")]

# They run in a checkout of the Model Zoo: tests/release/test_packaging.py makes one.
collect_ignore = ["zoo"]

# A slow or busy machine fails no property, and a red test is the fault of the change, not of the draw.
hypothesis.settings.register_profile("bundle", deadline=None, derandomize=True)
hypothesis.settings.load_profile("bundle")


def pytest_configure(config: pytest.Config) -> None:
    """Compile the kernels once, not in each of the processes that train."""
    if "CXX" not in os.environ and shutil.which("c++"):
        folder = tempfile.mkdtemp(prefix="msfbnet-tests-")
        os.environ["CXX"] = shlex.join(
            [sys.executable, "-I", str(Path(__file__).parent / "fixtures/compiler.py"), folder]
        )
        config.add_cleanup(lambda: shutil.rmtree(folder))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: what is left for the end, where one process may wait for another, is short."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real brains: MSFBNET_DATA, or shared/data beside the checkout; the test is skipped without it."""
    folder = Path(os.environ.get("MSFBNET_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real brains at {folder} (set MSFBNET_DATA)")
    return folder
