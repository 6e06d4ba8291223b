# SPDX-License-Identifier: Apache-2.0
"""A run of the bundle in this process: what it shows is what a user may type."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import fire
import monai.bundle
import pytest
from monai.bundle import ConfigParser

from scripts.bundle_run import run_bundle

ROOT = Path(__file__).parents[1]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The overrides of each run, which does nothing."""
    noted: list[dict] = []
    monkeypatch.setattr(monai.bundle, "run", lambda *_, config_file, **overrides: noted.append(overrides))
    return noted


@pytest.mark.parametrize(
    "value",
    [
        *("1003", "1e3", ".5", "None", "True", "[a,b]", "{a}", "a b", "it's", '"', "plain.nii", "a,b", "-x", "--seed"),
        *("a#b", "$x", "@home", "%x", "'#'", "\\#", "../ä.nii", "ﬁle", "b'x'", "set()", "/data/F.nii.gz", "", "\n"),
        *(3, True, False),
    ],
)
def test_the_runner_gets_from_the_command_that_is_shown_what_it_gets_here(
    value: Any, given: list[dict], capsys: pytest.CaptureFixture
) -> None:
    run_bundle("inference", "configs/inference.json", fixed=value)
    (_, shown) = capsys.readouterr().out.split("$ ", 1)
    words = shlex.split(shown)
    assert words[:7] == ["python", "-m", "monai.bundle", "run", "inference", "--config_file", "configs/inference.json"]
    # The runner reads its command line with Fire, too.
    received = fire.Fire(lambda **overrides: [overrides], command=words[7:], serialize=lambda _: "")
    assert received == given
    assert type(received[0]["fixed"]) is type(value)


def test_texts_in_a_list_stay_texts(given: list[dict], capsys: pytest.CaptureFixture) -> None:
    run_bundle("inference", "configs/inference.json", participant_label=["$x", "@a#b", "%c", "01"])
    content = ConfigParser({"labels": given[0]["participant_label"]}).get_parsed_content("labels")
    assert content == ["$x", "@a#b", "%c", "01"]


def test_plain_paths_are_shown_as_they_are(given: list[dict], capsys: pytest.CaptureFixture) -> None:
    run_bundle("inference", "configs/inference.json", fixed="data/F.nii.gz", moving="../M-1.nii", output_dir="/a_b")
    assert capsys.readouterr().out.endswith(" --fixed data/F.nii.gz --moving ../M-1.nii --output_dir /a_b\n")


@pytest.mark.slow
def test_torch_is_loaded_with_threads_that_wait_for_a_short_time(tmp_path: Path) -> None:
    code = "import os, sys, scripts.bundle_run as b; print('torch' in sys.modules); b.run_bundle('run', 'missing.json')"
    # OpenMP tells what it has read when it is loaded.
    environment = {"OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.startswith("False\n")
    assert "missing.json" in done.stderr
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr or "GOMP" not in done.stderr
