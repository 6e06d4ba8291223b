# SPDX-License-Identifier: Apache-2.0
"""The page that lists many registrations."""

import re
from pathlib import Path

from scripts.report import Listed, overview


def test_poorest_first_by_verdict_and_then_by_similarity(tmp_path: Path) -> None:
    rows = [
        Listed("a", "S", "pass", [], "a.html", {"lncc": 0.9, "lncc_before": 0.2}),
        Listed("b", "S", "pass", [], "b.html", {"lncc": 0.8}),
        Listed("c", "", "skipped", ["no scan"]),
        Listed("d", "S", "look", [], "d.html", {"lncc": 0.95}),
        Listed("e", "S", "error", ["damaged"]),
        Listed("f", "S", "fail", ["folded"], "f.html", {"lncc": float("nan")}),
    ]
    overview(tmp_path / "index.html", "Scans", rows)
    page = (tmp_path / "index.html").read_text()
    assert re.findall(r'scope="row">(?:<a [^>]*>)?(\w)<', page) == ["e", "f", "d", "b", "a", "c"]
    assert "1 not registered, 1 ✗ fail, 1 ! look, 2 ✓ pass, 1 skipped" in page
    assert re.findall('href="(.*?)"', page) == ["f.html", "d.html", "b.html", "a.html"]
    assert "0.200 → 0.900" in page


def test_no_name_is_read_as_html(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>&\"'#?%"
    overview(tmp_path / "index.html", name, [Listed(name, name, "pass", [name], f"sub-01/{name}.html")])
    page = (tmp_path / "index.html").read_text()
    assert "<script" not in page
    assert re.findall('href="(.*?)"', page) == ["sub-01/%3Cscript%3Ealert%281%29%3C/script%3E%26%22%27%23%3F%25.html"]
    assert "default-src 'none'" in page
