"""Seconds and memory of a part of the work."""

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


def test_memory_of_a_part_is_its_own_peak() -> None:
    """200 MB that go back to the system at the end are seen, and do not count for the next one."""
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


def test_memory_is_measured_where_the_kernel_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("builtins.open", denied)
    timings: dict = {}
    with timed(timings, "load"):
        pass
    assert 20 < timings["load"]["peak_memory_mb"] < 1e6


def test_failed_stage_is_not_noted() -> None:
    timings: dict = {}
    with pytest.raises(ZeroDivisionError), timed(timings, "bad"):
        _ = 1 / 0
    assert timings == {}
