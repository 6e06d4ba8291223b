# SPDX-License-Identifier: Apache-2.0
"""That there is compiled code where there is a compiler, and how it goes on where there is none.

What the code computes is tested where it is used: `spatial/test_compiled.py`, `networks/test_normalization.py`,
`networks/test_correlation.py`.
"""

import logging
import os
import shutil
from pathlib import Path

import pytest
from torch.testing import assert_close

from scripts.kernels import library
from scripts.spatial import warp
from tests.spatial.examples import field_to, random, warped_with_gradients


@pytest.mark.skipif("CXX" in os.environ or shutil.which("c++") is None, reason="wants the C++ compiler named c++")
def test_a_compiler_gives_a_library() -> None:
    assert library() is not None


@pytest.mark.parametrize("fault", ["missing", "fails", "writes no library"])
def test_without_a_working_compiler_results_are_the_same_and_one_line_says_so(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "c++"
    if fault != "missing":
        does = {"fails": "echo no such flag >&2; exit 1", "writes no library": 'for last; do :; done; echo > "$last"'}
        compiler.write_text(f"#!/bin/sh\n{does[fault]}\n")
        compiler.chmod(0o755)
    image, field, gradient = random(15, 2, 3, 5, 3, 9), field_to("all", 5, 3, 9), random(16, 2, 3, 5, 3, 9)
    expected = warped_with_gradients(warp, image, field, gradient)
    monkeypatch.setenv("CXX", str(compiler))
    library.cache_clear()
    caplog.clear()
    try:
        with caplog.at_level(logging.WARNING):
            found = [warped_with_gradients(warp, image, field, gradient) for _ in range(2)]
    finally:
        monkeypatch.undo()
        library.cache_clear()
    assert_close(found, [expected, expected], rtol=0, atol=1e-12)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "slower" in line and "\n" not in line
