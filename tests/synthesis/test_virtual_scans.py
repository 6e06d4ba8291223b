"""Virtual pairs from label maps: what is drawn, and that images, clean scans and labels show one anatomy."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from torch import Tensor

from scripts.datasets.sampling import PairSampler
from scripts.runtime.errors import InputError
from scripts.spatial import jacobian_determinant
from scripts.synthesis.contrast import random_contrast, t1_contrast
from scripts.synthesis.corruption import corrupt, smooth_noise
from scripts.synthesis.label_maps import LabelMapPairs, label_map_files
from scripts.synthesis.virtual_scans import RandSynthesizePaird

SIZE = (48, 64, 48)
WHITE, GREY, FLUID, CSF, SKIN = 2, 3, 4, 24, 511


def head(shift: float = 0.0) -> Tensor:
    """A head of nested balls, from the inside: fluid, white and grey matter, fluid around the brain, skin."""
    axes = [np.arange(n) - (n - 1) / 2 for n in SIZE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x - shift) ** 2 + (y / 1.3) ** 2 + z**2)
    labels = np.select(
        [radius < 4, radius < 10, radius < 15, radius < 17, radius < 21], [FLUID, WHITE, GREY, CSF, SKIN]
    )
    return torch.from_numpy(labels[None].astype(np.int16))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(seed: int = 0, **options) -> dict:
    transform = RandSynthesizePaird(**options).set_random_state(seed=seed)
    return transform({"fixed_label": head(), "moving_label": head(1.0)})


def inside(labels: Tensor, value: int) -> np.ndarray:
    """Voxels of a label, two away from any other."""
    return binary_erosion(labels[0].numpy() == value, iterations=2)


# --- a pair -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, (48, 64, 48)), ({"spacing": 2}, (32, 32, 32)), ({"size": (16, 32, 16)}, (16, 32, 16))],
    ids=str,
)
def test_a_pair_has_images_clean_scans_and_labels_of_one_size(options: dict, size: tuple[int, ...]) -> None:
    made = pair(**options)
    assert made["image"].shape == (2, *size) and made["target"].shape == (4, *size)
    assert made["fixed_label"].shape == made["moving_label"].shape == (1, *size)
    assert made["image"].dtype == made["target"].dtype == torch.float32
    assert made["image"].min() >= 0 and made["image"].max() == 1


def test_the_seed_decides_everything() -> None:
    first, again, other = pair(1), pair(1), pair(2)
    for key in ("image", "target", "fixed_label", "moving_label"):
        assert torch.equal(first[key], again[key])
        assert not torch.equal(first[key], other[key])


def test_it_can_be_called_again_and_gives_another_pair() -> None:
    transform = RandSynthesizePaird().set_random_state(seed=0)
    maps = {"fixed_label": head(), "moving_label": head()}
    assert not torch.equal(transform(maps)["image"], transform(maps)["image"])


@pytest.mark.parametrize("seed", range(5))
def test_clean_scans_have_one_value_per_label_and_the_same_in_both(seed: int) -> None:
    made = pair(seed, head_probability=1)
    for value in (WHITE, GREY):
        fixed, moving = inside(made["fixed_label"], value), inside(made["moving_label"], value)
        assert fixed.any() and moving.any()
        for channel in (0, 1):
            values = torch.cat([made["target"][channel][fixed], made["target"][channel + 2][moving]])
            # Some voxels at the rim of the eroded label are interpolated.
            assert ((values - values.median()).abs() < 1e-4).float().mean() > 0.9
    assert (made["target"][0][inside(made["fixed_label"], WHITE)].mean()) > 0.8


def test_one_map_twice_makes_two_anatomies() -> None:
    transform = RandSynthesizePaird().set_random_state(seed=3)
    made = transform({"fixed_label": head(), "moving_label": head()})
    same = (made["fixed_label"] == made["moving_label"])[made["fixed_label"] > 0].float().mean()
    assert 0.3 < same < 0.97


@pytest.mark.parametrize("seed", range(4))
def test_skull_stripping_leaves_the_brain_and_takes_the_skin(seed: int) -> None:
    stripped, whole = (pair(seed, head_probability=p) for p in (0, 1))
    for role, channel in (("fixed_label", 0), ("moving_label", 1)):
        brain = inside(stripped[role], WHITE)
        assert (stripped["target"][2 * channel][brain] > 0).all()
        skin = (stripped[role][0] == SKIN).numpy()
        assert (stripped["image"][channel][skin] > 0).float().mean() < 0.6
        skin = (whole[role][0] == SKIN).numpy()
        assert (whole["target"][2 * channel][skin] > 0).float().mean() > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_deformations_move_by_voxels_and_do_not_fold(seed: int) -> None:
    transform = RandSynthesizePaird(deformation=6.0).set_random_state(seed=seed)
    transform.randomize()
    field = transform._displacement((64, 64, 48))[None]
    assert 0.2 < field.norm(dim=1).mean() < 9
    assert jacobian_determinant(field).min() > 0.1


def test_mirrored_pairs_come_as_often_as_others() -> None:
    labels = torch.zeros(1, 16, 16, 16, dtype=torch.int16)
    labels[:, :8], labels[:, 8:] = WHITE, GREY
    transform = RandSynthesizePaird(deformation=0.1).set_random_state(seed=0)
    made = [transform({"fixed_label": labels, "moving_label": labels}) for _ in range(60)]
    mirrored = [int(pair["fixed_label"][0, 2, 8, 8]) == GREY for pair in made]
    assert 15 < sum(mirrored) < 45
    assert mirrored == [int(pair["moving_label"][0, 2, 8, 8]) == GREY for pair in made]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_runs_on_the_gpu() -> None:
    made = pair(device="cuda")
    assert made["image"].is_cuda and made["image"].max() == 1


# --- contrasts --------------------------------------------------------------------------------------------------------


def test_t1_contrasts_are_those_of_t1_scans_and_differ() -> None:
    contrasts = torch.stack([t1_contrast(generator(seed)) for seed in range(100)])
    ordered = (contrasts[:, FLUID] < contrasts[:, GREY]) & (contrasts[:, GREY] < contrasts[:, WHITE])
    assert ordered.float().mean() > 0.95
    assert contrasts[:, GREY].std() > 0.04
    assert (contrasts[:, 0] == 0).all() and (contrasts[:, 1:] > 0).all()


def test_random_contrasts_know_no_order_and_both_halves_are_alike() -> None:
    contrasts = torch.stack([random_contrast(generator(seed)) for seed in range(100)])
    assert 0.3 < (contrasts[:, GREY] < contrasts[:, WHITE]).float().mean() < 0.7
    assert torch.equal(contrasts[:, 2], contrasts[:, 41]) and torch.equal(contrasts[:, 17], contrasts[:, 53])


# --- what scanners do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_a_corrupted_scan_keeps_its_background_range_and_size(seed: int) -> None:
    scan = (head() > 0).float() * (0.3 + 0.1 * (head() == WHITE))
    made = corrupt(scan, *2 * [generator(seed)])
    assert made.shape == scan.shape and made.isfinite().all()
    assert made.min() == 0 and made.max() == 1
    assert (made[scan == 0] == 0).float().mean() > 0.8
    assert not torch.equal(made, corrupt(scan, *2 * [generator(seed + 100)]))
    assert torch.equal(made, corrupt(scan, *2 * [generator(seed)]))


def test_an_empty_scan_stays_empty() -> None:
    assert not corrupt(torch.zeros(1, 16, 16, 16), generator(0), generator(1)).any()


@pytest.mark.parametrize("width", [1.0, 4.0, 100.0])
def test_smooth_noise_has_unit_deviation_and_its_width(width: float) -> None:
    noise = torch.cat([smooth_noise((24, 24, 24), width, 3, generator(seed)) for seed in range(40)])
    assert noise.mean().abs() < 0.3
    assert 0.6 < noise.std() < 1.8
    neighbours = (noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean()
    assert neighbours > 1 - 1.5 / min(width, 24)


# --- label maps -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, shift in enumerate((0.0, 1.0, 2.0)):
        nib.save(nib.Nifti1Image(head(shift)[0].numpy(), np.eye(4)), tmp_path / f"map_{number}.nii.gz")
    (tmp_path / "notes.txt").write_text("no label map")
    return tmp_path


def test_every_ordered_pair_is_an_item_a_map_with_itself_too(folder: Path) -> None:
    seen = []
    dataset = LabelMapPairs(label_map_files(folder), lambda maps: seen.append(maps) or maps)
    assert len(dataset) == 9
    items = [dataset[index] for index in range(9)]
    for index, item in enumerate(items):
        assert torch.equal(item["fixed_label"], head(index // 3)) and torch.equal(item["moving_label"], head(index % 3))
    with pytest.raises(IndexError):
        dataset[9]


def test_restoring_torchs_generator_makes_the_same_pairs_again(folder: Path) -> None:
    dataset = LabelMapPairs(label_map_files(folder), RandSynthesizePaird())
    torch.manual_seed(4)
    state = torch.get_rng_state()
    first = [dataset[index]["image"] for index in PairSampler(dataset, 2)]
    torch.set_rng_state(state)
    again = [dataset[index]["image"] for index in PairSampler(dataset, 2)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])


def test_maps_are_turned_to_ras(folder: Path) -> None:
    turned = nib.Nifti1Image(head(2.0)[0].numpy()[::-1], np.diag([-1.0, 1, 1, 1]))
    nib.save(turned, folder / "map_2.nii.gz")
    dataset = LabelMapPairs(label_map_files(folder), dict)
    assert torch.equal(dataset[8]["fixed_label"], head(2.0))


def test_labels_that_freesurfer_does_not_have_are_refused(folder: Path) -> None:
    nib.save(nib.Nifti1Image(head()[0].numpy() + np.int16(1001), np.eye(4)), folder / "map_1.nii.gz")
    with pytest.raises(InputError, match=r"map_1.nii.gz: labels from 1001 to \d+; want FreeSurfer's, 0 to 1023"):
        LabelMapPairs(label_map_files(folder), dict)


def test_maps_of_other_sizes_missing_folders_and_single_maps_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of label maps"):
        label_map_files(tmp_path / "nowhere")
    nib.save(nib.Nifti1Image(head()[0].numpy()[1:], np.eye(4)), folder / "other.nii.gz")
    with pytest.raises(InputError, match=r"other.nii.gz: \(47, 64, 48\) voxels, .*map_0.nii.gz has \(48, 64, 48\)"):
        LabelMapPairs(label_map_files(folder), dict)
    for file in folder.glob("*.nii.gz"):
        if file.name != "map_0.nii.gz":
            file.unlink()
    with pytest.raises(InputError, match="1 label maps; pairs need at least two"):
        label_map_files(folder)
