# SPDX-License-Identifier: Apache-2.0
"""The text of the report page."""

import base64
import hashlib
import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.report import Reuse, registration_report
from scripts.report.page import scan_names

INJECTED = '</title></script><img src=x onerror="alert(1)">&$verdict'
COMMANDS = [Reuse("ANTs", "a note", "ants -i a -o b")]


Metrics = dict[str, Any]
Volumes = dict[str, np.ndarray]


def write(path: Path, volumes: Volumes, metrics: Metrics, commands: Sequence[Reuse] = COMMANDS) -> str:
    """Text of the page."""
    registration_report(path, **volumes, metrics=metrics, commands=commands)
    return path.read_text(encoding="utf-8")


def test_same_input_makes_the_same_bytes(tmp_path: Path, volumes: Volumes, metrics: Metrics) -> None:
    assert write(tmp_path / "a.html", volumes, metrics) == write(tmp_path / "b.html", volumes, metrics)


def test_every_placeholder_of_the_template_is_filled(tmp_path: Path, volumes: Volumes, metrics: Metrics) -> None:
    page = write(tmp_path / "report.html", volumes, metrics)
    without_code = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.findall(r"\$\w+", without_code)


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path, volumes: Volumes, metrics: Metrics) -> None:
    page = write(tmp_path / "report.html", volumes, metrics)
    assert "default-src 'none'" in page
    assert set(re.findall(r'src="(.{5})', page)) == {"data:"}
    assert not re.search(r"https?:|@import|url\(|<link", page)


def test_policy_allows_only_the_script_of_the_page(tmp_path: Path, volumes: Volumes, metrics: Metrics) -> None:
    page = write(tmp_path / "report.html", volumes, metrics)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in page


@pytest.mark.parametrize(("verdict", "word"), [("pass", "Pass"), ("look", "Look"), ("fail", "Fail")])
def test_verdict_and_reasons_come_first(
    tmp_path: Path, volumes: Volumes, metrics: Metrics, verdict: str, word: str
) -> None:
    metrics |= {"verdict": verdict, "reasons": ["first reason", "second reason"]}
    page = write(tmp_path / "report.html", volumes, metrics)
    header = page[page.index("<header") : page.index("</header>")]
    assert f"</span> {word}</p>" in header and f'class="card {verdict}"' in header
    assert header.index("first reason") < header.index("second reason")


def test_names_and_texts_of_the_input_are_escaped(tmp_path: Path, volumes: Volumes, metrics: Metrics) -> None:
    for role in ("fixed", "moving"):
        metrics[role] |= {"path": f"/data/{role}/{INJECTED}", "warnings": [INJECTED]}
    metrics["reasons"] = [INJECTED]
    plain = write(tmp_path / "a.html", volumes, metrics | {"reasons": []}, [])
    page = write(tmp_path / "b.html", volumes, metrics, [Reuse(INJECTED, INJECTED, INJECTED)])
    for text in (plain, page):
        assert "<img src=x" not in text
        assert text.count("<script>") == 1 and text.count("</script>") == 1
    assert unescape(page).count(INJECTED) > unescape(plain).count(INJECTED) >= 4


def test_commands_are_in_the_page_unchanged(tmp_path: Path, volumes: Volumes, metrics: Metrics) -> None:
    text = "applywarp -i 'its <a> & b.nii.gz'\nsecond line"
    page = write(tmp_path / "report.html", volumes, metrics, [Reuse("FSL", "note", text)])
    (found,) = re.findall(r'<pre id="command-0" tabindex="0">(.*?)</pre>', page, re.DOTALL)
    assert unescape(found) == text
    assert 'data-copy="command-0"' in page


def directions(page: str) -> str:
    """What a reader sees of the part that says which warp moves which scan."""
    return unescape(re.sub(r"<.*?>", "", page[page.index("<h2>Reuse the warp") : page.index('<div class="command">')]))


def test_the_page_says_which_warp_moves_which_scan(tmp_path: Path, volumes: Volumes, metrics: Metrics) -> None:
    metrics["fixed"]["path"], metrics["moving"]["path"] = "/data/a & b.nii.gz", "/data/c.nii.gz"
    text = directions(write(tmp_path / "report.html", volumes, metrics))
    assert "warp.nii.gz brings images and label maps of c (moving) onto a & b (fixed).\n" in text
    assert "inverse_warp.nii.gz brings images and label maps of a & b (fixed) onto c (moving).\n" in text
    assert "Points go the other way: warp.nii.gz maps points of the fixed to the moving scan." in text
    assert "atlas" not in text


@pytest.mark.parametrize(("role", "file"), [("fixed", "inverse_warp"), ("moving", "warp")])
def test_the_page_says_which_warp_moves_an_atlas_of_the_template(
    tmp_path: Path, volumes: Volumes, metrics: Metrics, role: str, file: str
) -> None:
    metrics[role]["template"] = "MNI152NLin2009aSym"
    page = write(tmp_path / "report.html", volumes, metrics)
    (line,) = (line for line in directions(page).splitlines() if "atlas of the template onto your scan" in line)
    assert line.startswith(f"{file}.nii.gz brings ")
    assert '<th scope="row">Template</th>' in page


def test_a_new_page_replaces_the_old_one(tmp_path: Path, volumes: Volumes, metrics: Metrics) -> None:
    (tmp_path / "report.html").write_text("old")
    assert write(tmp_path / "report.html", volumes, metrics).startswith("<!DOCTYPE html>")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_failed_registration_is_reported_too(tmp_path: Path, volumes: Volumes, metrics: Metrics) -> None:
    volumes["field"] = np.full_like(volumes["field"], np.nan)
    metrics |= {
        "lncc": None,
        "foreground_folding_percent": None,
        "affine": None,
        "verdict": "fail",
        "reasons": ["broken"],
    }
    page = write(tmp_path / "report.html", volumes, metrics)
    assert "no foreground to measure in" in page


def test_bad_shapes_and_unknown_verdicts_are_refused(tmp_path: Path, volumes: Volumes, metrics: Metrics) -> None:
    for wrong in ({"field": volumes["field"][:2]}, {"moved": volumes["moved"][1:]}, {"before": np.zeros((3, 3))}):
        with pytest.raises(ValueError, match="expected three images"):
            write(tmp_path / "report.html", volumes | wrong, metrics)
    with pytest.raises(ValueError, match="pass, look, fail, not fine"):
        write(tmp_path / "report.html", volumes, metrics | {"verdict": "fine"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fixed", "moving", "names"),
    [
        ("/a/one.nii.gz", "/b/two.nii", ("one", "two")),
        ("/a/T1.nii.gz", "/b/T1.nii.gz", ("a/T1.nii.gz", "b/T1.nii.gz")),
        ("norm.mgz", "s.1/T1.nii", ("norm", "T1")),
        ("x.mgz", "x.nii", ("x.mgz", "x.nii")),
    ],
)
def test_short_names_of_the_scans_differ(fixed: str, moving: str, names: tuple[str, str]) -> None:
    assert scan_names(fixed, moving) == names


def test_quality_is_shown_with_the_least_trusted_label_first(
    tmp_path: Path, volumes: Volumes, metrics: Metrics
) -> None:
    assert "Where to trust it" not in write(tmp_path / "without.html", volumes, metrics)
    shown = volumes | {"quality": volumes["fixed"]}
    assert "each label" not in write(tmp_path / "no-labels.html", shown, metrics)
    metrics |= {"quality": 0.71, "quality_per_label": {"4": 0.85, "1006": 0.62}}
    page = write(tmp_path / "with.html", shown, metrics)
    section = page.partition("Where to trust it")[2].partition("</section>")[0]
    assert re.findall(r'data-image="(\w+)"', section) == ["quality"] * 3
    assert re.findall(r'<th scope="row">(\d+)</th><td>([\d.]+)</td>', section) == [("1006", "0.62"), ("4", "0.85")]
    assert "<b>0.71 " in page  # among the key metrics
