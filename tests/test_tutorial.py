# SPDX-License-Identifier: Apache-2.0
"""docs/tutorial.ipynb: what is stored of it, and its code in a process of its own."""

import base64
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.test_documents import anchors, links

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "tutorial.ipynb"
NOTEBOOK = json.loads(FILE.read_text(encoding="utf-8"))
CELLS = NOTEBOOK["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
PNG = b"\x89PNG\r\n\x1a\n"


def text(value: str | list[str]) -> str:
    """Text of a notebook, which may be stored by lines."""
    return value if isinstance(value, str) else "".join(value)


def pictures(cell: dict) -> list[bytes]:
    stored = [output["data"]["image/png"] for output in cell["outputs"] if "image/png" in output.get("data", {})]
    return [base64.b64decode(text(picture)) for picture in stored]


def test_it_is_a_notebook_of_format_4_and_less_than_a_megabyte() -> None:
    assert NOTEBOOK["nbformat"] == 4 and NOTEBOOK["nbformat_minor"] >= 5
    assert NOTEBOOK["metadata"]["kernelspec"]["name"] == "python3"
    assert {cell["cell_type"] for cell in CELLS} == {"code", "markdown"}
    ids = [cell["id"] for cell in CELLS]
    assert len(set(ids)) == len(ids)
    assert FILE.stat().st_size < 1_000_000


def test_every_code_cell_was_run_in_order_and_has_outputs_without_errors() -> None:
    assert [cell["execution_count"] for cell in CODE] == [*range(1, len(CODE) + 1)]
    assert all(cell["outputs"] for cell in CODE)
    kinds = {(output["output_type"], output.get("name")) for cell in CODE for output in cell["outputs"]}
    assert kinds == {("display_data", None), ("stream", "stdout")}


def test_every_cell_that_draws_has_its_picture() -> None:
    for cell in CODE:
        drawn = pictures(cell)
        calls = re.findall(r"^(?:plt\.show|show)\(", text(cell["source"]), re.MULTILINE)
        assert len(drawn) == len(calls)
        assert all(picture.startswith(PNG) for picture in drawn)
    assert sum(len(pictures(cell)) for cell in CODE) >= 5


def test_outputs_name_no_place_on_a_machine() -> None:
    printed = "".join(text(output["text"]) for cell in CODE for output in cell["outputs"] if "text" in output)
    assert "pass" in printed
    assert re.findall(r"(?<![\w.])(?:/|~/|[A-Z]:\\)\w+[/\\].*", printed) == []
    assert str(ROOT) not in FILE.read_text(encoding="utf-8")


def test_its_links_lead_somewhere() -> None:
    for link in links("\n\n".join(text(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")):
        path, _, anchor = link.partition("#")
        target = FILE.parent / path
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


# --- run --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_its_code_runs_from_the_root_of_the_bundle(tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    code, count = re.subn(
        r'^work = Path\(".*"\)$',
        f"work = Path({str(tmp_path / 'work')!r})",
        "\n".join(text(cell["source"]) for cell in CODE),
        flags=re.MULTILINE,
    )
    assert count == 1
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    work = tmp_path / "work"

    metrics = json.loads((work / "registration" / "metrics.json").read_text())
    assert metrics["verdict"] == "pass" and "\npass\n" in done.stdout
    assert "pass" in (work / "registration" / "report.html").read_text()

    moved, labels = (nib.load(path) for path in (work / "moved_labels.nii.gz", next(work.rglob("labelsTr/*8_0000*"))))
    assert moved.get_data_dtype() == labels.get_data_dtype()
    assert set(np.unique(moved.dataobj)) == set(np.unique(labels.dataobj))
    scores = np.array(re.findall(r"^[A-Z].* (\d\.\d{3}) +(\d\.\d{3})$", done.stdout, re.MULTILINE), dtype=float)
    assert len(scores) == len(np.unique(labels.dataobj)) - 1
    assert (scores[:, 1] > scores[:, 0]).all()
    before, after = map(float, re.findall(r"^TRE, .* mean (\d+\.\d+)", done.stdout, re.MULTILINE))
    assert after < before / 2

    assert (work / "training" / "loss_curve.png").read_bytes().startswith(PNG)
    with open(work / "training" / "history.csv", newline="") as file:
        loss = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(loss) == 6 and loss[-1] < loss[0]
    assert "epoch 6: validation Dice 0." in done.stdout
