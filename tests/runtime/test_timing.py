# SPDX-License-Identifier: Apache-2.0
"""Seconds and memory of a block of code."""

import mmap
import time

import numpy as np
import pytest

from scripts.runtime.timing import timed


def test_seconds_are_those_of_the_block() -> None:
    timings: dict = {}
    with timed(timings, "sleep"):
        time.sleep(0.2)
    assert 0.2 <= timings["sleep"]["seconds"] < 1.0


def test_memory_of_a_block_is_its_own_peak() -> None:
    """A block of 200 MB that is freed at once is measured, and does not count for the next block of code."""
    timings: dict = {}
    with timed(timings, "before"):
        pass
    with timed(timings, "large"):
        block = mmap.mmap(-1, 200 * 2**20)
        np.frombuffer(block, dtype=np.uint8)[:] = 1
        block.close()
    with timed(timings, "after"):
        pass
    peaks = {name: values["peak_memory_mb"] for name, values in timings.items()}
    assert peaks["large"] - peaks["before"] == pytest.approx(200, abs=40)
    assert peaks["after"] < peaks["large"] - 100


def test_memory_is_measured_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("builtins.open", denied)
    timings: dict = {}
    with timed(timings, "load"):
        pass
    assert 20 < timings["load"]["peak_memory_mb"] < 1e6


def test_a_failed_block_has_no_entry() -> None:
    timings: dict = {}
    with pytest.raises(ZeroDivisionError), timed(timings, "bad"):
        _ = 1 / 0
    assert timings == {}
