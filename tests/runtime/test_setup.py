# SPDX-License-Identifier: Apache-2.0
"""What a process sets up before it computes: precision, memory and numbers that were typed."""

import platform
import re
import subprocess
import sys
from typing import Any

import pytest
import torch

from scripts.runtime.errors import InputError
from scripts.runtime.setup import length, supports_bf16, whole_number

FAULTS = """
import resource, sys, torch
from scripts.runtime.setup import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def faults(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(40)  # at first, small objects in freed blocks make the heap grow
print(faults(5))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_freed_memory_is_kept() -> None:
    kept, handed_back = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True, text=True).stdout)
        for how in ("keep", "hand back")
    )
    assert kept < 0.01 * handed_back


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),  # computes it as float32, and slower
        ({"architecture": "arm64"}, False),
    ],
)
def test_cpu_needs_bf16_instructions(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], expected: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert supports_bf16("cpu") is expected


def test_cpu_without_known_instructions_does_not_use_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert supports_bf16("cpu") is False


@pytest.mark.parametrize(("value", "number"), [(0, 0), ("0", 0), (30, 30), ("30", 30)])
def test_whole_number_is_read(value: object, number: int) -> None:
    assert whole_number(value, "refine") == number


@pytest.mark.parametrize("value", ["-1", -1, "many", 1.5, "", None, True])
def test_other_than_a_whole_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=re.escape(f"--refine {value}: want a whole number from 0")):
        whole_number(value, "refine")


@pytest.mark.parametrize("value", [1.5, "1.5", 2, "2e0"])
def test_length_is_read(value: float | str) -> None:
    assert length(value, "network_spacing") == float(value)


@pytest.mark.parametrize("value", ["-1", 0, "wide", "nan", "inf", ""])
def test_other_than_a_length_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=re.escape(f"--network_spacing {value}: want a number above 0")):
        length(value, "network_spacing")
