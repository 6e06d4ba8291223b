"""A short training, shared by the tests of what it leaves and of how it is resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def short_training() -> dict[str, Any]:
    """Four epochs of two steps, each validated."""
    return {"max_epochs": 4, "pairs_per_epoch": 2, "val_interval": 1}


@pytest.fixture(scope="session")
def trained(
    run_bundle: Callable, dataset: Path, short_training: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder that the short training leaves when nothing stops it; not to be written to."""
    folder = tmp_path_factory.mktemp("training") / "new" / "folder"
    run_bundle("train", dataset_dir=dataset, output_dir=folder, **short_training)
    return folder
