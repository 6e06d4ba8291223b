# SPDX-License-Identifier: Apache-2.0
"""Compilation of the kernels, and the results without a compiler.

The kernels themselves are tested with the functions that use them, such as `spatial/test_compiled.py`.
"""

import logging
import os
import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from scripts.kernels import library
from scripts.losses import LNCCLoss
from scripts.networks.correlation import local_correlation
from scripts.networks.normalization import RectifiedNorm
from scripts.spatial import integrate, resize, warp
from tests.spatial.examples import random

FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "warp": warp,
    "integrate": lambda image, field: integrate(field),
    "resize": lambda image, field: resize(field, [7, 2, 9]),
    "correlation": lambda image, field: local_correlation(image, field),
    "normalization": lambda image, field: RectifiedNorm(3, 0.2).double()(
        field.to(memory_format=torch.channels_last_3d)
    ),
    "LNCC": lambda image, field: LNCCLoss(3)(field[:, :1], image[:, :1]),
}


def values_and_gradients() -> list[Tensor]:
    """Results of all functions, and the gradients of the field."""
    tensors = []
    for function in FUNCTIONS.values():
        image, field = random(15, 2, 3, 5, 3, 8), random(16, 2, 3, 5, 3, 8).requires_grad_()
        result = function(image, field)
        (gradient,) = torch.autograd.grad(result, field, random(17, *result.shape))
        tensors += [result.detach(), gradient]
    return tensors


@pytest.fixture(scope="module")
def expected() -> list[Tensor]:
    """The results by the kernels, compiled once for all tests."""
    return values_and_gradients()


def test_more_threads_give_the_same(expected) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = values_and_gradients()
    finally:
        torch.set_num_threads(before)
    assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.skipif(os.environ.get("CXX") == "none" or shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_compiler_gives_a_library() -> None:
    assert library() is not None


@pytest.mark.parametrize(
    "script",
    [None, "echo no such flag >&2; exit 1", 'for last; do :; done; echo > "$last"'],
    ids=["missing", "fails", "writes no library"],
)
def test_without_a_compiler_results_are_the_same(script: str | None, expected, tmp_path, monkeypatch, caplog) -> None:
    compiler = tmp_path / "c++"
    if script is not None:
        compiler.write_text(f"#!/bin/sh\n{script}\n")
        compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    library.cache_clear()
    caplog.clear()
    try:
        with caplog.at_level(logging.WARNING):
            found = values_and_gradients()
    finally:
        monkeypatch.undo()
        library.cache_clear()
    assert_close(found, expected, rtol=0, atol=1e-10)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "slower" in line and "\n" not in line
