# SPDX-License-Identifier: Apache-2.0
"""Learning curves of histories that follow one of the two rules exactly."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.report import learning_curves


def write_history(folder: Path, dice_by_epoch: Mapping[int, object]) -> str:
    folder.mkdir()
    with open(folder / "history.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "loss", "dice"])
        writer.writerows([epoch, -1.0, dice] for epoch, dice in dice_by_epoch.items())
    return str(folder)


def extrapolated(output: str) -> dict[str, list[list[float]]]:
    """The two ranges of each training, as the printed table has them."""
    rows = output.splitlines()[1:]
    return {
        row.split("  ")[0]: [[float(x) for x in part.split(" to ")] for part in row.split("   ")[-1].split(", ")]
        for row in rows
    }


def test_a_history_is_extrapolated_by_its_own_rule(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    # With 100 steps an epoch: 0.6 - 1 / sqrt(steps), and 0.4 + 0.02 * ln(steps). The last of 800 steps is followed by
    # 8000 and 80000. Epochs without validation are empty.
    saturating = {2: 0.6 - 200**-0.5, 3: "", 4: 0.6 - 400**-0.5, 8: 0.6 - 800**-0.5}
    endless = {2: 0.4 + 0.02 * np.log(200), 4: 0.4 + 0.02 * np.log(400), 8: 0.4 + 0.02 * np.log(800)}
    folders = {
        "saturating": write_history(tmp_path / "a", saturating),
        "endless": write_history(tmp_path / "b", endless),
    }
    learning_curves(tmp_path / "curves.png", folders, 100)
    found = extrapolated(capsys.readouterr().out)
    lows = [low for low, _ in found["saturating"]]
    assert lows == pytest.approx([0.6 - 8000**-0.5, 0.6 - 80000**-0.5], abs=6e-4)
    highs = [high for _, high in found["endless"]]
    assert highs == pytest.approx([0.4 + 0.02 * np.log(8000), 0.4 + 0.02 * np.log(80000)], abs=6e-4)
    assert np.asarray(Image.open(tmp_path / "curves.png")).std() > 0


def test_a_single_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"history\.csv: want the Dice of two epochs"):
        learning_curves(tmp_path / "curves.png", {"one": write_history(tmp_path / "a", {2: 0.5})}, 100)
