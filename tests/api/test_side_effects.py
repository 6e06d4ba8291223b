# SPDX-License-Identifier: Apache-2.0
"""A call from Python prints nothing and changes neither its process nor its arguments."""

import logging
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.api import Result, apply, register
from scripts.networks import MSFBNet
from tests.api.examples import AFFINE, MOVING_AFFINE, ON_CPU, labels_of

pytestmark = pytest.mark.usefixtures("keep_any_deformation", "tiny_config")


def test_nothing_is_printed_and_the_process_stays_as_it_is(
    pair: SimpleNamespace, random_weights: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> list:
        return [
            sys.excepthook,
            list(sys.path),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.get_rng_state().tolist(),
            random.getstate(),
            str(np.random.get_state()),
            logging.getLogger().handlers[:],
            Path.cwd(),
        ]

    monkeypatch.chdir(pair.paths[0].parent)
    before, files = state(), set(Path().iterdir())
    done = register("F.nii.gz", "M.nii.gz", weights=random_weights, refine=2, init="rigid", device="cpu")
    apply(done, "M.nii.gz")
    assert state() == before
    assert set(Path().iterdir()) == files
    assert capfd.readouterr() == ("", "")


def test_what_is_given_is_not_changed(pair: SimpleNamespace, random_network: MSFBNet) -> None:
    fixed, moving = pair.fixed[0].astype(np.float32), nib.Nifti1Image(pair.moving[0], MOVING_AFFINE)
    fixed[0, 0, 0] = np.nan
    labels, points, matrix = labels_of(pair.moving[0]), np.array([[1.0, 2, 3]]), np.eye(4)
    header, copies = moving.header.copy(), [array.copy() for array in (fixed, labels, points, matrix, AFFINE)]
    weights = {name: value.clone() for name, value in random_network.state_dict().items()}
    options = {"fixed_landmarks": points, "moving_landmarks": points, "moving_label": (labels, MOVING_AFFINE)}
    done = register((fixed, AFFINE), moving, network=random_network, init=matrix, refine=1, device="cpu", **options)
    apply(done, moving)
    for array, copy in zip((fixed, labels, points, matrix, AFFINE), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert moving.header == header
    np.testing.assert_array_equal(moving.dataobj, pair.moving[0])
    assert all(torch.equal(value, weights[name]) for name, value in random_network.state_dict().items())


@pytest.mark.parametrize("call", ["register", "apply"])
def test_what_is_odd_about_a_header_is_logged(
    call: str, result: Result, pair: SimpleNamespace, random_network: MSFBNet, caplog: pytest.LogCaptureFixture
) -> None:
    odd = nib.Nifti1Image(pair.moving[0], MOVING_AFFINE)
    odd.set_qform(nib.affines.from_matvec(np.eye(3), [0, 3, 4]) @ MOVING_AFFINE, code=1)
    caplog.clear()
    if call == "register":
        register(pair.fixed, odd, network=random_network, **ON_CPU)
    else:
        apply(result, odd)
    (record,) = caplog.records
    assert record.name.startswith("scripts.") and record.levelno == logging.WARNING
    assert "sform and qform differ by up to 5 mm" in record.getMessage()
