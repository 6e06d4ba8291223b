# SPDX-License-Identifier: Apache-2.0
"""What a process sets up before it computes: precision and memory."""

import platform
import subprocess
import sys
from typing import Any

import pytest
import torch

from scripts.runtime.setup import supports_bf16

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
