# SPDX-License-Identifier: Apache-2.0
"""The calibration of the quality: known coefficients are found again, and pairs of files become a table."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from scripts.evaluation import calibrate_quality, calibration
from scripts.evaluation.calibration import KINDS, Borders, fitted
from scripts.runtime import InputError


def test_known_coefficients_are_found_again() -> None:
    generator = np.random.default_rng(0)
    known = np.array([-1.0, 2.0, -0.5, 0.0])
    evidence = np.hstack([np.ones((100_000, 1)), generator.normal(size=(100_000, 3))])
    near = generator.random(len(evidence)) < expit(evidence @ known)
    halves = [Borders("network", frozenset(), *half) for half in ((evidence[:9], np.where(near[:9], 0.5, 3.0)),)]
    halves.append(Borders("affine", frozenset(), evidence[9:], np.where(near[9:], 1.0, 1.5)))
    np.testing.assert_allclose(fitted(halves), known, atol=0.05)


@pytest.fixture
def pairs(
    tiny_config: Path,
    random_weights: Path,
    save_scan: Callable,
    blob: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Two pairs among four heads, whose label maps are their brightness."""
    config = json.loads(tiny_config.read_text())
    tiny_config.write_text(json.dumps(config | {"weights": str(random_weights)}))
    monkeypatch.setattr(calibration, "INFERENCE", str(tiny_config))
    lines = ["fixed,moving,fixed_label,moving_label"]
    for first in (0, 2):
        images = [blob((28, 33, 25), seed) for seed in (first, first + 1)]
        scans = [save_scan(f"{first}{role}.nii.gz", image) for role, image in zip("FM", images, strict=True)]
        maps = [np.digitize(image, [0.1 * image.max(), 0.6 * image.max()]).astype(np.uint8) for image in images]
        labels = [save_scan(f"{first}{role}-label.nii.gz", label) for role, label in zip("FM", maps, strict=True)]
        lines.append(",".join(map(str, [*scans, *labels])))
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines))
    return path


def test_pairs_become_tables(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    calibrate_quality(str(tmp_path / "out"), pairs=str(pairs))
    text = (tmp_path / "out" / "quality.md").read_text()
    header, *rows = (line.split(" | ") for line in text.splitlines() if line.startswith("|"))
    assert [title for title in header if "at most" in title] == [f"{kind}: at most 1 mm off" for kind in KINDS]
    assert len(rows) == 2 * 12 + 1  # two tables, with their lines below the header, and the second header
    shares = [float(cells[1]) for cells in rows[1:11] if cells[1] != "–"]
    assert sum(shares) == pytest.approx(100, abs=1)
    assert "Coefficients of other people's pairs" in text
    assert "at most 1 mm off: network 0." in capsys.readouterr().out


def test_a_pair_without_labels_is_refused(pairs: Path, tmp_path: Path) -> None:
    rows = [line.split(",")[:2] for line in pairs.read_text().splitlines()]
    pairs.write_text("\n".join(map(",".join, rows)))
    with pytest.raises(InputError, match="give fixed_label and moving_label"):
        calibrate_quality(str(tmp_path / "out"), pairs=str(pairs))
