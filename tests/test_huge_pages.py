"""Large arrays lie in large pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
COUNT_FAULTS = """
import resource
import monai.bundle, torch  # as the bundle's runner does, before it imports scripts
import scripts
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(2**26)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> int:
    inherited = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    counted = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS],
        cwd=Path(__file__).parents[1],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(counted.stdout)


@pytest.mark.skipif(
    not SETTING.exists() or "[madvise]" not in SETTING.read_text(), reason="no huge pages on request here"
)
def test_an_array_of_256_mb_takes_few_page_faults_unless_the_user_says_so() -> None:
    assert faults() < 6000  # 65536 pages of 4 KB; memory in pieces may leave no room for some of 2 MB
    assert faults(THP_MEM_ALLOC_ENABLE="0") > 60000
