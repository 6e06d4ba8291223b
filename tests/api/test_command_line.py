# SPDX-License-Identifier: Apache-2.0
"""The Python API and the command line leave the same."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from scripts.__main__ import main
from scripts.api import Result, apply, register
from scripts.io import save_affine
from tests.api.examples import MOVING_AFFINE, ON_CPU, labels_of

pytestmark = pytest.mark.usefixtures("keep_any_deformation", "tiny_config")


@pytest.fixture
def by_command(
    tiny_config: Path,
    pair: SimpleNamespace,
    random_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unchanged_process: Callable,
) -> Path:
    """What `python -m scripts register` leaves of the pair."""
    monkeypatch.chdir(tiny_config.parents[1])
    files = ("--fixed", pair.paths[0], "--moving", pair.paths[1], "--weights", random_weights)
    with unchanged_process(), suppress(SystemExit):  # a network of random weights may make it worse
        main(["register", *map(str, (*files, "--output_dir", tmp_path / "out"))])
    return tmp_path / "out"


def test_save_leaves_what_the_command_line_leaves(
    pair: SimpleNamespace, random_weights: Path, by_command: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "new" / "saved"
    register(*pair.paths, weights=random_weights, **ON_CPU).save(saved)
    assert {path.name for path in saved.iterdir()} == {path.name for path in by_command.iterdir()}
    for name in ("moved.nii.gz", "quality.nii.gz", "warp.nii.gz", "inverse_warp.nii.gz"):
        first, second = (nib.load(folder / name) for folder in (saved, by_command))
        assert first.header == second.header
        np.testing.assert_array_equal(first.dataobj, second.dataobj)
    assert (saved / "affine.mat").read_bytes() == (by_command / "affine.mat").read_bytes()
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (saved, by_command))
    assert first.pop("timings").keys() == second.pop("timings").keys()
    assert first == second


def test_apply_gives_what_the_command_writes(
    pair: SimpleNamespace, result: Result, by_command: Path, save_scan: Callable, tmp_path: Path
) -> None:
    labels = labels_of(pair.moving[0])
    series = np.stack([pair.moving[0], pair.moving[0][::-1]], axis=-1)
    warp = by_command / "warp.nii.gz"
    shift = tmp_path / "shift.mat"
    save_affine(shift, np.eye(4) + np.outer([1, 0, 0, 0], [0, 0, 0, 2.5]))
    for name, array in (("labels", labels), ("image", pair.moving[0]), ("series", series)):
        source = save_scan(f"{name}.nii.gz", array, MOVING_AFFINE)
        for transform, words in ((result, str(warp)), (warp, str(warp)), ([warp, shift], f"{warp},{shift}")):
            out = tmp_path / "X.nii.gz"
            line = ["apply", "--transform", words, "--input", source, "--reference", pair.paths[0], "--output", out]
            assert main([str(word) for word in line]) == 0
            moved, written = apply(transform, (array, MOVING_AFFINE), pair.fixed), nib.load(out)
            assert moved.get_data_dtype() == written.get_data_dtype() == np.int16
            np.testing.assert_array_equal(moved.dataobj, written.dataobj)
            np.testing.assert_array_equal(moved.affine, written.affine)
