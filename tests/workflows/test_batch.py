# SPDX-License-Identifier: Apache-2.0
"""Many pairs in one run: each in a folder of its own, whatever becomes of the others, and done once."""

import csv
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from scripts.io.field_formats import read_transform
from scripts.runtime.errors import find_input_error

pytestmark = pytest.mark.usefixtures("keep_any_deformation")

PEOPLE = [f"VIRTUAL_000{number}_0000" for number in (1, 2, 3, 4)]


@pytest.fixture
def images(small_dataset: Path) -> list[Path]:
    return [small_dataset / "imagesTr" / f"{name}.nii.gz" for name in PEOPLE]


@pytest.fixture
def batch(run_bundle: Callable, fresh_weights: Path, tmp_path: Path) -> Callable[..., str]:
    """Run with these options, into `out`: the line that ends it, empty if all went well."""

    def run(**options: Any) -> str:
        given = {"output_dir": tmp_path / "out", "weights": fresh_weights, "init": "none", **options}
        try:
            run_bundle("inference", **given)
        except RuntimeError as error:
            found = find_input_error(error)
            if found is None:
                raise
            return str(found)
        return ""

    return run


def listed(file: Path, *rows: dict[str, Any]) -> Path:
    """A CSV or JSON list of pairs."""
    if file.suffix == ".json":
        file.write_text(json.dumps([{name: str(value) for name, value in row.items()} for row in rows]))
        return file
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def folders(out: Path) -> set[str]:
    return {path.name for path in out.iterdir() if path.is_dir()}


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.json"])
def test_bad_pair_is_done_once_it_is_mended(
    batch: Callable, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture, name: str
) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(images[0].read_bytes()[:3000])
    rows = [{"fixed": images[0], "moving": moving, "name": moving.name[:12]} for moving in (images[1], bad, images[2])]
    pairs, out = listed(tmp_path / name, *rows), tmp_path / "out"

    assert batch(pairs=pairs) == "1 of 3 pairs could not be registered; they are listed above"
    printed = capsys.readouterr().err
    assert [line for line in printed.splitlines() if line.startswith("bad.nii.gz: ")] != []
    assert f"{bad}: the file is damaged or cut short" in printed
    assert "3/3" in printed and "registering" in printed
    assert folders(out) == {"VIRTUAL_0002", "VIRTUAL_0003"}
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.parent != out and path.is_file()}

    bad.write_bytes(images[3].read_bytes())
    assert batch(pairs=pairs) == ""
    printed = capsys.readouterr()
    assert "2 of 3 pairs are finished already" in printed.out
    assert "1/1" in printed.err
    assert folders(out) == {"VIRTUAL_0002", "VIRTUAL_0003", "bad.nii.gz"}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with (out / "summary.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["pair"] for row in rows} >= folders(out)
    assert all(0 < float(row["lncc"]) < 1 for row in rows if row["pair"] in folders(out))

    assert batch(pairs=pairs) == ""
    assert "3 of 3 pairs are finished already" in capsys.readouterr().out


def test_another_setting_makes_finished_pairs_anew(
    batch: Callable, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pairs, out = listed(tmp_path / "pairs.csv", {"fixed": images[0], "moving": images[1], "name": "one"}), tmp_path
    batch(pairs=pairs)
    batch(pairs=pairs, composite=True)
    assert "finished" not in capsys.readouterr().out
    assert (out / "out" / "one" / "transform.h5").is_file()
    (out / "out" / "one" / "notes.txt").write_text("of the user")
    batch(pairs=pairs)
    left = {path.name for path in (out / "out" / "one").iterdir()}
    assert "transform.h5" not in left, "it is of the run before"
    assert {"notes.txt", "warp.nii.gz", "metrics.json"} <= left


def test_labels_masks_and_voxels_that_come_later_make_finished_pairs_anew(
    batch: Callable, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    labels = [path.parents[1] / "labelsTr" / path.name for path in images]
    moving = [nib.load(path) for path in images[1:3]]
    for name, image in zip(("moving.hdr", "later.hdr"), moving, strict=True):
        nib.save(nib.Nifti1Pair(np.asarray(image.dataobj), moving[0].affine), tmp_path / name)
    pair = {"fixed": images[0], "moving": tmp_path / "moving.hdr", "name": "one"}
    scored = pair | {"fixed_label": labels[0], "moving_label": labels[1]}

    def metrics(*rows: dict[str, Any]) -> dict[str, Any]:
        with suppress(RuntimeError):  # half a brain has a poor verdict
            batch(pairs=listed(tmp_path / "pairs.csv", *rows))
        return json.loads((tmp_path / "out" / "one" / "metrics.json").read_text())

    assert "dice" not in metrics(pair)
    assert metrics(scored)["dice"] > 0
    assert "1 of 1 pairs are finished already" not in capsys.readouterr().out
    part = np.asarray(nib.load(labels[0]).dataobj).copy()
    part[:15] = 0
    nib.save(nib.Nifti1Image(part, moving[0].affine), tmp_path / "mask.nii")
    before = metrics(scored | {"fixed_mask": tmp_path / "mask.nii"})
    assert before["foreground_dice"] < 0.8
    scored["moving_mask"] = labels[1]
    before = metrics(scored)
    assert before["foreground_dice"] > 0.85
    assert metrics(scored) == before
    assert "1 of 1 pairs are finished already" in capsys.readouterr().out
    (tmp_path / "moving.img").write_bytes((tmp_path / "later.img").read_bytes())
    assert metrics(scored)["lncc_before"] != before["lncc_before"]


def test_summary_has_no_row_of_a_pair_that_failed_this_time(
    batch: Callable, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    copy = tmp_path / "copy.nii.gz"
    copy.write_bytes(images[1].read_bytes())
    rows = [{"fixed": images[0], "moving": moving, "name": moving.name[:4]} for moving in (copy, images[2])]
    pairs = listed(tmp_path / "pairs.csv", *rows)
    batch(pairs=pairs)
    copy.write_bytes(b"damaged")
    assert "cannot be read as an image" in batch(pairs=pairs)
    table = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["pair"] for row in table["pairs"]] == ["VIRT"]


def test_dataset_leaves_a_folder_for_each_pair(batch: Callable, small_dataset: Path, tmp_path: Path) -> None:
    assert batch(dataset_dir=small_dataset) == ""
    out = tmp_path / "out"
    assert folders(out) == {f"{PEOPLE[2]}_{PEOPLE[3]}", f"{PEOPLE[3]}_{PEOPLE[2]}"}
    table = json.loads((out / "summary.json").read_text())
    assert {row["pair"] for row in table["pairs"]} == folders(out)
    for row in table["pairs"]:
        metrics = json.loads((out / row["pair"] / "metrics.json").read_text())
        assert (row["dice"], row["dice_before"], row["tre"]) == (
            metrics["dice"],
            metrics["dice_before"],
            metrics["tre"],
        )


@pytest.mark.slow
def test_workers_change_nothing(batch: Callable, small_dataset: Path, tmp_path: Path) -> None:
    for workers in (0, 2):
        assert batch(dataset_dir=small_dataset, workers=workers, output_dir=tmp_path / str(workers)) == ""
    files = sorted(path.relative_to(tmp_path / "0") for path in (tmp_path / "0").rglob("*.*"))
    assert files == sorted(path.relative_to(tmp_path / "2") for path in (tmp_path / "2").rglob("*.*"))
    same = [path for path in files if path.name.endswith((".nii.gz", ".mat"))]
    assert len(same) == 2 * 5
    for path in same:
        assert (tmp_path / "0" / path).read_bytes() == (tmp_path / "2" / path).read_bytes(), path


def test_figures_are_those_of_plain_numpy(
    batch: Callable, small_dataset: Path, random_weights: Path, tmp_path: Path
) -> None:
    with suppress(RuntimeError):  # the verdict is poor
        batch(dataset_dir=small_dataset, weights=random_weights)
    for fixed, moving in ((PEOPLE[2], PEOPLE[3]), (PEOPLE[3], PEOPLE[2])):
        folder = tmp_path / "out" / f"{fixed}_{moving}"
        metrics = json.loads((folder / "metrics.json").read_text())
        maps = [np.asarray(nib.load(small_dataset / "labelsTr" / f"{name}.nii.gz").dataobj) for name in (fixed, moving)]
        points = [np.loadtxt(small_dataset / "keypointsTr" / f"{name}.csv", delimiter=",") for name in (fixed, moving)]
        labels = [int(value) for value in json.loads((small_dataset / "VIRTUAL_dataset.json").read_text())["labels"]][
            1:
        ]

        # Both scans have voxels of 1 mm at the world's own origin: a place in the world is one in voxels.
        warp = read_transform(folder / "warp.nii.gz")
        ends = warp(np.argwhere(np.ones(maps[0].shape)).astype(float))
        warped = map_coordinates(maps[1], ends.T, order=0).reshape(maps[0].shape)
        for moved, suffix in ((maps[1], "_before"), (warped, "")):
            dice = [
                2 * ((maps[0] == label) & (moved == label)).sum() / ((maps[0] == label).sum() + (moved == label).sum())
                for label in labels
                if (maps[0] == label).any() and (maps[1] == label).any()
            ]
            assert metrics[f"dice{suffix}"] == pytest.approx(np.mean(dice), abs=2e-3)
        assert metrics["tre_before"] == pytest.approx(np.linalg.norm(points[0] - points[1], axis=1).mean(), abs=1e-3)
        assert metrics["tre"] == pytest.approx(np.linalg.norm(warp(points[0]) - points[1], axis=1).mean(), abs=0.02)
        assert abs(metrics["tre"] - metrics["tre_before"]) > 0.1


def test_hausdorff_distance_is_that_of_other_code(batch: Callable, small_dataset: Path, tmp_path: Path) -> None:
    surface_distance = pytest.importorskip("surface_distance")
    batch(dataset_dir=small_dataset)
    folder = tmp_path / "out" / f"{PEOPLE[2]}_{PEOPLE[3]}"
    metrics = json.loads((folder / "metrics.json").read_text())
    maps = [np.asarray(nib.load(small_dataset / "labelsTr" / f"{name}.nii.gz").dataobj) for name in PEOPLE[2:]]
    expected = []
    for label in np.unique(maps[0])[1:]:
        if (maps[1] == label).any():
            distances = surface_distance.compute_surface_distances(maps[0] == label, maps[1] == label, [1.0] * 3)
            expected.append(surface_distance.compute_robust_hausdorff(distances, 95.0))
    assert metrics["hd95_before"] == pytest.approx(np.mean(expected), rel=1e-3)


def test_unequal_numbers_of_landmarks_are_refused(batch: Callable, images: list[Path], tmp_path: Path) -> None:
    for name, rows in (("a.csv", "x,y,z\n1,2,3\n4,5,6\n"), ("b.csv", "x,y,z\n1,2,3\n")):
        (tmp_path / name).write_text(rows)
    line = batch(
        fixed=images[0], moving=images[1], fixed_landmarks=tmp_path / "a.csv", moving_landmarks=tmp_path / "b.csv"
    )
    assert "b.csv: 1 landmarks for 2 landmarks of" in line
    assert not (tmp_path / "out").exists()
