# SPDX-License-Identifier: Apache-2.0
"""A BIDS dataset of small heads, and the command on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from scripts.runtime.errors import InputError, QualityError

pytest.importorskip("ancpbids")


@pytest.fixture
def tree(tmp_path: Path, blob: Callable) -> Callable[..., Path]:
    """`tree("sub-01/anat/sub-01_T1w.nii.gz", ...)`: a dataset with these images, each with a head of its own."""

    def make(*files: str) -> Path:
        root = tmp_path / "bids"
        root.mkdir(exist_ok=True)
        about = {"Name": "Heads", "BIDSVersion": "1.9.0", "License": "CC0", "Authors": ["A", "B"]}
        (root / "dataset_description.json").write_text(json.dumps(about))
        (root / "README").write_text("Small heads, made by a test. " * 10)
        for seed, file in enumerate(files):
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            image = nib.Nifti1Image(blob((24, 26, 23), seed), np.eye(4))
            image.header.set_xyzt_units("mm", "sec")
            nib.save(image, path)
        return root

    return make


@pytest.fixture
def bids(run_bundle: Callable, fresh_weights: Path, tmp_path: Path) -> Callable[..., str]:
    """Run the overlay on a dataset, into `out`: the line that ends it, empty if all went well."""

    def run(root: Path, **options: Any) -> str:
        given = {"output_dir": tmp_path / "out", "weights": fresh_weights, "init": "none", **options}
        try:
            run_bundle("inference", "bids.yaml", bids_dir=root, **given)
        except Exception as error:
            cause: BaseException | None = error
            while not isinstance(cause, InputError | QualityError | type(None)):
                cause = cause.__cause__
            if cause is None:
                raise
            return str(cause)
        return ""

    return run
