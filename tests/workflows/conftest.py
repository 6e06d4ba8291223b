# SPDX-License-Identifier: Apache-2.0
"""A short training, a pair of scans, and the line that a failed workflow ends with."""

import sys
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


@pytest.fixture
def images(save_scan: Callable, blob: Callable) -> dict[str, Path]:
    """Scans of 20 x 22 x 19 voxels, by role."""
    return {
        role: save_scan(f"{role}-scan.nii.gz", blob((20, 22, 19), seed))
        for seed, role in enumerate(("fixed", "moving"))
    }


@pytest.fixture
def answer(bundle: Callable, unchanged_process: Callable, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run a workflow that fails, as Python's own top level would: the line that the user sees on stderr."""

    def run(*configs: str, code: int = 3, **overrides: object) -> str:
        start = {"init": "none"} if "inference" in configs else {}
        with unchanged_process():
            try:
                workflow = bundle(*configs, **start, **overrides)
                workflow.initialize()
                workflow.run()
            except Exception:
                capsys.readouterr()
                with pytest.raises(SystemExit) as caught:
                    sys.excepthook(*sys.exc_info())
                assert caught.value.code == code
                (line,) = capsys.readouterr().err.splitlines()
                assert line.startswith("error: ")
                return line
        raise AssertionError("it went well")

    return run
