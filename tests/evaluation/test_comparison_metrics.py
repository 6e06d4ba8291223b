# SPDX-License-Identifier: Apache-2.0
"""The figures of the studies of a comparison, by fields that are known."""

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose
from torch import Tensor

from scripts.datasets.learn2reg import validation_pairs
from scripts.evaluation.baselines import Method, affine_only
from scripts.evaluation.comparison import (
    dataset_cases,
    landmark_cases,
    landmark_metrics,
    rescan_metrics,
    validation_metrics,
)
from scripts.geometry.grid import Grid
from scripts.registration.pair import Job, PreparedPair
from scripts.registration.steps import align_pair, read_pair, to_network_grid
from scripts.spatial import integrate

AFFINE = Method("affine", "affine", "", "", affine_only)


def constant(shift: tuple[float, float, float]) -> Callable:
    """A method's function: the same displacement everywhere, voxels."""
    return lambda image, affine: torch.tensor(shift).float().view(1, 3, 1, 1, 1).repeat(1, 1, *image.shape[2:])


@pytest.fixture
def item() -> dict:
    """A pair on a grid of 2 mm, its fixed image above 0 in the middle only."""
    image = torch.zeros(2, 24, 24, 24)
    image[:, 8:16, 8:16, 8:16] = torch.rand(2, 8, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    return {"image": image, "grid": Grid((24, 24, 24), np.diag([2.0, 2.0, 2.0, 1.0]))}


def consistency(item: dict, function: Callable) -> float:
    method = Method("msfbnet", "msfbnet", "", "", function)
    field = function(item["image"][None], item["grid"].affine)
    return validation_metrics(item, method, field, [])["inverse_consistency_mm"]


def test_a_flow_and_its_inverse_are_consistent(item: dict) -> None:
    noise = torch.randn(1, 3, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    velocity = 2 * torch.nn.functional.interpolate(noise, size=(24, 24, 24), mode="trilinear")

    def flow(image: Tensor, affine: np.ndarray) -> Tensor:
        return integrate(velocity if torch.equal(image[0], item["image"]) else -velocity)

    assert consistency(item, flow) < 0.1
    assert consistency(item, lambda image, affine: integrate(velocity)) > 1


def test_inverse_consistency_is_in_mm(item: dict) -> None:
    assert consistency(item, constant((1, 0, 0))) == pytest.approx(4)
    item["grid"] = Grid((24, 24, 24), np.diag([2.0, 3.0, 1.0, 1.0]))
    assert consistency(item, constant((0, 1, 0))) == pytest.approx(6)


def test_syn_is_not_run_twice(item: dict) -> None:
    method = Method("syn", "syn", "", "", lambda *_: pytest.fail("run"))
    assert "inverse_consistency_mm" not in validation_metrics(item, method, torch.zeros(1, 3, 24, 24, 24), [])


def test_rescan_counts_the_fixed_brain_in_mm(item: dict) -> None:
    field = torch.full((1, 3, 24, 24, 24), 100.0)
    field[:, :, 8:16, 8:16, 8:16] = torch.tensor([3.0, 0.0, 4.0]).view(3, 1, 1, 1)
    assert rescan_metrics(item, AFFINE, field) == {"displacement_mm": pytest.approx(10)}


def test_landmarks_of_raw_scans_meet_under_the_right_field(head: Callable, grid_of: Callable, tmp_path: Path) -> None:
    """Two heads, one of them shifted and stored on other axes; what brings the moving one back, in voxels, is known."""
    shift, points = np.array([4.0, -2.0, 6.0]), np.array([[0.0, 0, 0], [5, -8, 3], [-9, 10, 7]])
    for name, axes, moved in (("a", "RAS", 0), ("b", "ASL", shift)):
        grid = grid_of(axes)
        array = head(grid, lambda x, moved=moved: x - moved)
        nib.save(nib.Nifti1Image(array, grid.affine), tmp_path / f"{name}_T1.nii.gz")
        rows = "\n".join(",".join(map(str, point)) for point in points + moved)
        (tmp_path / f"{name}_landmarks.csv").write_text(f"x_ras_mm,y_ras_mm,z_ras_mm\n{rows}\n")

    def prepare(job: Job) -> PreparedPair:
        return to_network_grid(align_pair(read_pair(job), np.eye(4), 0), 4, 2.0, [1, 1, 1])

    cases = landmark_cases(tmp_path, prepare, {})
    assert [case.name for case in cases] == ["a_b", "b_a"]
    for case, sign in zip(cases, (1, -1), strict=True):
        item = case.load()
        image = item["image"][None]
        found = {
            size: landmark_metrics(item, AFFINE, constant(tuple(size * sign * shift / 2))(image, item["grid"].affine))
            for size in (0, 1, -1)
        }
        length = float(np.linalg.norm(shift))
        assert [found[size]["tre"] for size in (0, 1, -1)] == pytest.approx([length, 0, 2 * length], abs=1e-4)


def test_landmarks_that_are_missing_are_named(tmp_path: Path, refused: Callable) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}_T1.nii.gz").write_bytes(b"x")
    with refused("a_landmarks.csv", "no such file"):
        landmark_cases(tmp_path, Compose([]), {})


def test_other_files_or_settings_are_other_data(tmp_path: Path, odd_dataset: Path) -> None:
    folder = shutil.copytree(odd_dataset, tmp_path / "dataset")
    pair = validation_pairs(folder)[0]
    seen = []

    def note(settings: dict | None = None) -> None:
        seen.append(dataset_cases([pair], Compose([]), settings or {"labels": [1]})[0].data)

    note()
    note({"labels": [1, 2]})
    for path in (pair["moving"]["label"], pair["fixed"]["keypoints"], pair["fixed"]["image"]):
        with open(path, "ab") as file:
            file.write(b"\n")
        note()
    assert len(set(seen)) == 5


def test_other_landmarks_are_other_data(tmp_path: Path) -> None:
    for name in ("a_T1.nii.gz", "b_T1.nii.gz", "a_landmarks.csv", "b_landmarks.csv"):
        (tmp_path / name).write_text(name)
    before = {case.name: case.data for case in landmark_cases(tmp_path, Compose([]), {})}
    (tmp_path / "b_landmarks.csv").write_text("changed")
    after = {case.name: case.data for case in landmark_cases(tmp_path, Compose([]), {})}
    assert before["a_b"] != before["b_a"]
    assert all(before[name] != after[name] for name in before)
