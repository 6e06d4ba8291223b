# SPDX-License-Identifier: Apache-2.0
"""The figures of the studies of a comparison, by fields that are known."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose
from torch import Tensor

from scripts.datasets.learn2reg import validation_pairs
from scripts.evaluation.methods import Method, affine_only, predicted, predicted_pair
from scripts.evaluation.studies import (
    Item,
    Metrics,
    dataset_cases,
    predicted_raw,
    raw_cases,
    raw_metrics,
    rescan_metrics,
    validation_metrics,
)
from scripts.geometry.grid import Grid
from scripts.networks import CascadeInferer, MSFBNet
from scripts.registration.contrasts import compare_contrasts
from scripts.registration.pair import ImageSources, Job, PreparedPair, advanced
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


def test_other_tools_are_not_run_twice(item: dict) -> None:
    method = Method("syn", "syn", "", "", lambda *_: pytest.fail("run"))
    assert "inverse_consistency_mm" not in validation_metrics(item, method, torch.zeros(1, 3, 24, 24, 24), [])


def test_rescan_counts_the_fixed_brain_in_mm(item: dict) -> None:
    field = torch.full((1, 3, 24, 24, 24), 100.0)
    field[:, :, 8:16, 8:16, 8:16] = torch.tensor([3.0, 0.0, 4.0]).view(3, 1, 1, 1)
    assert rescan_metrics(item, AFFINE, field) == {"displacement_mm": pytest.approx(10)}


SHIFT, POINTS = np.array([4.0, -2.0, 6.0]), np.array([[0.0, 0, 0], [5, -8, 3], [-9, 10, 7]])


def measured(item: Item, method: Method) -> Metrics:
    return raw_metrics(item, method, predicted_raw(item, method))


def prepare(job: Job) -> PreparedPair:
    return compare_contrasts(to_network_grid(align_pair(read_pair(job), np.eye(4), 0), 4, 2.0, [1, 1, 1]))


@pytest.fixture
def shifted_heads(head: Callable, grid_of: Callable, tmp_path: Path) -> list[Job]:
    """Two heads, one of them shifted and stored on other axes, with labels and landmarks, in either order."""
    sources = []
    for name, axes, moved in (("a", "RAS", 0), ("b", "ASL", SHIFT)):
        grid = grid_of(axes)
        array = head(grid, lambda x, moved=moved: x - moved)
        nib.save(nib.Nifti1Image(array, grid.affine), tmp_path / f"{name}.nii.gz")
        label = 7 * (array > 0.5 * array.max()).astype(np.int16)
        nib.save(nib.Nifti1Image(label, grid.affine), tmp_path / f"{name}_label.nii.gz")
        rows = "\n".join(",".join(map(str, point)) for point in POINTS + moved)
        (tmp_path / f"{name}.csv").write_text(f"x_ras_mm,y_ras_mm,z_ras_mm\n{rows}\n")
        paths = [str(tmp_path / f"{name}{end}") for end in (".nii.gz", "_label.nii.gz", ".csv")]
        sources.append(ImageSources(image=paths[0], label=paths[1], landmarks=paths[2]))
    return [Job(name=name, folder="", fixed=f, moving=m) for name, f, m in (("a_b", *sources), ("b_a", *sources[::-1]))]


def test_raw_scans_meet_under_the_right_field(shifted_heads: list[Job]) -> None:
    """What brings the moving head back, in voxels, is known."""
    cases = raw_cases(shifted_heads, prepare, {})
    assert [case.name for case in cases] == ["a_b", "b_a"]
    for case, sign in zip(cases, (1, -1), strict=True):
        item = case.load()
        found = [measured(item, AFFINE._replace(field=constant(tuple(size * sign * SHIFT / 2)))) for size in (0, 1, -1)]
        length = float(np.linalg.norm(SHIFT))
        assert [figures["tre"] for figures in found] == pytest.approx([length, 0, 2 * length], abs=1e-4)
        assert found[1]["dice"] > 0.95 > found[0]["dice"] > found[2]["dice"]
        assert found[1]["lncc"] > found[0]["lncc"] and found[1]["mutual_information"] > found[0]["mutual_information"]
        assert found[1]["foreground_ndv_percent"] == 0 == pytest.approx(found[1]["sdlogj"], abs=1e-5)
        assert "rejected" not in found[1]


def test_a_raw_pair_without_labels_and_landmarks_has_the_other_figures(shifted_heads: list[Job]) -> None:
    job = shifted_heads[0]
    bare = [replace(job, fixed=replace(job.fixed, label=None), moving=replace(job.moving, landmarks=None))]
    found = measured(raw_cases(bare, prepare, {})[0].load(), AFFINE)
    assert {"dice", "tre"}.isdisjoint(found) and {"lncc", "mutual_information", "sdlogj"} <= found.keys()


def test_our_network_sees_either_contrast_of_a_raw_pair_and_others_see_the_images(
    random_network: MSFBNet, shifted_heads: list[Job]
) -> None:
    pair = prepare(shifted_heads[0])
    versions = (pair.image, pair.image[::-1].copy())  # any two will do
    pair = advanced(PreparedPair, pair, in_one_contrast=versions)
    item = {"image": torch.from_numpy(pair.image), "grid": pair.grid, "pair": pair}
    infer = CascadeInferer()
    images, ours = predicted(random_network, infer), predicted_pair(random_network, infer)
    network = Method("msfbnet", "msfbnet", "", "", images, ours)
    fields = [images(torch.from_numpy(version)[None], pair.grid.affine)[0] for version in versions]
    torch.testing.assert_close(predicted_raw(item, network).field, torch.stack(fields).mean(dim=0))
    torch.testing.assert_close(predicted_raw(item, network._replace(predict=None)).field, fields[0])


def test_a_deformation_of_ours_is_taken_back_as_in_register_and_that_of_others_is_not(
    shifted_heads: list[Job],
) -> None:
    fixed = shifted_heads[0].fixed
    item = raw_cases([Job(name="a_a", folder="", fixed=fixed, moving=fixed)], prepare, {})[0].load()
    away = constant(tuple(SHIFT / 2))
    still, ours, other = (
        measured(item, Method(kind, kind, "", "", field))
        for kind, field in (("affine", affine_only), ("msfbnet", away), ("greedy", away))
    )
    assert ours == still | {"rejected": 1}
    assert other["tre"] > still["tre"] and "rejected" not in other


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
    sources = []
    for name in "ab":
        for end in (".nii.gz", ".csv"):
            (tmp_path / f"{name}{end}").write_text(f"{name}{end}")
        sources.append(ImageSources(image=str(tmp_path / f"{name}.nii.gz"), landmarks=str(tmp_path / f"{name}.csv")))
    jobs = [Job(name=name, folder="", fixed=f, moving=m) for name, f, m in (("ab", *sources), ("ba", *sources[::-1]))]
    before = [case.data for case in raw_cases(jobs, Compose([]), {})]
    (tmp_path / "b.csv").write_text("changed")
    after = [case.data for case in raw_cases(jobs, Compose([]), {})]
    assert len({*before, *after}) == 4
