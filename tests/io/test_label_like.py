# SPDX-License-Identifier: Apache-2.0
"""Label maps are told from images by all of their values; where they cannot be told, that is said."""

from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from scripts.io.label_like import holds_labels
from scripts.io.series import open_series

SHAPE = (44, 48, 40)
INDEX = np.stack(np.indices(SHAPE), axis=-1)
CENTERED = (INDEX - np.array(SHAPE) / 2) / np.array([18, 21, 17])
BRAIN = np.linalg.norm(CENTERED, axis=-1) < 1


def parcels(count: int) -> np.ndarray:
    """Numbers from 1 of the nearest of as many seeds in the brain, int32."""
    voxels = np.argwhere(BRAIN)
    seeds = voxels[np.random.default_rng(0).choice(len(voxels), count, replace=False)]
    labels = np.zeros(SHAPE, np.int32)
    labels[BRAIN] = cKDTree(seeds).query(voxels)[1] + 1
    return labels


def scan(levels: int = 255) -> np.ndarray:
    """A stripped head from 0 to `levels`, float64 whole numbers: gray, white, noise, a smooth bias."""
    noise = np.random.default_rng(1).normal(scale=0.04, size=SHAPE)
    tissue = 0.4 + 0.3 * np.isin(parcels(60), range(1, 30)) + 0.15 * CENTERED[..., 0]
    return np.rint(levels * (ndimage.gaussian_filter(tissue, 0.7) + noise).clip(0, 1)) * BRAIN


def isolated(count: int, numbered: bool) -> np.ndarray:
    """Single voxels of label 1, or of 1 to `count`: no two touch."""
    places = np.argwhere((INDEX % 3 == 0).all(axis=-1) & BRAIN)
    chosen = places[np.random.default_rng(0).choice(len(places), count, replace=False)]
    labels = np.zeros(SHAPE, np.int16)
    labels[tuple(chosen.T)] = np.arange(1, count + 1) if numbered else 1
    return labels


def vessels() -> np.ndarray:
    """Twelve curves of one voxel's width, numbered."""
    labels = np.zeros(SHAPE, np.uint8)
    along = np.linspace(0.1, 0.9, 400)
    for number in range(12):
        curve = np.stack([along, 0.5 + 0.3 * np.sin(6 * along + number), np.full(400, (number + 2) / 16)], axis=1)
        labels[tuple((curve * SHAPE).astype(int).T)] = number + 1
    return labels


def depth() -> np.ndarray:
    """Distance from the brain's surface, voxels."""
    return ndimage.distance_transform_edt(BRAIN)


def probability(steps: int) -> np.ndarray:
    """Of half of the brain, 0 to `steps`, whole numbers."""
    return np.rint(steps * ndimage.gaussian_filter((BRAIN & (INDEX[..., 0] > 22)).astype(float), 1.5))


def tomography() -> np.ndarray:
    """Computed tomography, int16: padding of -3024, air of -1000 exactly, a head."""
    values = np.where(np.linalg.norm(CENTERED[..., :2], axis=-1) < 1.15, -1000, -3024)
    return np.where(BRAIN, scan(400) - 100, values).astype(np.int16)


def bound_together(*volumes: np.ndarray) -> np.ndarray:
    return np.stack(volumes, axis=-1)


EMPTY = np.zeros(SHAPE)
WITH_NAN = np.where(BRAIN, parcels(30), np.nan).astype(np.float32)

LABELS: dict[str, Callable[[], np.ndarray]] = {
    "parcels": lambda: parcels(40),
    "2,000 parcels of 13 voxels": lambda: parcels(2000),
    "parcels as floats": lambda: parcels(40).astype(np.float32),
    "parcels off by the rounding of floats": lambda: parcels(40) * (1 + 1e-7) + 1e-6,
    "parcels with NaN around": lambda: WITH_NAN,
    "numbers beyond 32 bits": lambda: parcels(40).astype(np.uint64) * np.uint64(10**15),
    "mask": lambda: BRAIN.astype(np.uint8),
    "mask of three voxels": lambda: isolated(3, numbered=False),
    "mask of 0 and 0.996": lambda: BRAIN * 0.996,
    "mask without background": lambda: np.ones(SHAPE, np.uint8),
    "lesions of single voxels": lambda: isolated(150, numbered=False),
    "lesions of single voxels, numbered": lambda: isolated(150, numbered=True),
    "parcels and single voxels": lambda: np.where(isolated(150, False) > 0, 500, parcels(40)),
    "thin vessels": vessels,
    "tissue classes 1, 2, 3": lambda: np.digitize(ndimage.gaussian_filter(scan(), 1), [20, 120, 150]) * BRAIN,
    "tumor in edema, 0, 1, 2": lambda: BRAIN * 1 + (depth() > 8),
    "ribbon 2, 3, 41, 42": lambda: BRAIN * (2 + (depth() < 5) + 39 * (INDEX[..., 0] > 22)),
    "classes of two sides": lambda: np.where(BRAIN, 10 + parcels(5) + 40 * (INDEX[..., 0] > 22), 0),
    "series that begins empty": lambda: bound_together(EMPTY, EMPTY, parcels(40)),
    "series of masks": lambda: bound_together(*[(parcels(5) == n).astype(np.uint8) for n in range(1, 6)]),
}
IMAGES: dict[str, Callable[[], np.ndarray]] = {
    "scan": lambda: scan().astype(np.uint8),
    "scan as floats": lambda: scan().astype(np.float32),
    "scan of 16 gray levels": lambda: scan(15),
    "scan of 40 gray levels": lambda: scan(40),
    "scan, z-scored": lambda: (scan() - 100) / 40,
    "scan in one parcel only": lambda: scan() * (parcels(5) == 2),
    "scan whose bright half is one value": lambda: np.minimum(scan(), 110),
    "scan enlarged by nearest neighbors": lambda: scan()[::2, ::2, ::2].repeat(2, 0).repeat(2, 1).repeat(2, 2),
    "smooth scan": lambda: np.rint(ndimage.gaussian_filter(scan(), 2)),
    "tomography": tomography,
    "distance, voxels": lambda: np.rint(ndimage.distance_transform_edt(np.pad(~BRAIN, 20, constant_values=True))),
    "distance, tenths": lambda: np.rint(10 * depth()),
    "probability": lambda: probability(100) / 100,
    "probability in percent": lambda: probability(100),
    "atlas of 20 people": lambda: bound_together(probability(20), probability(20)[::-1]),
    "counts of photons": lambda: np.random.default_rng(0).poisson(scan() / 40),
    "regions of one value that is not whole": lambda: parcels(9) + 0.5 * BRAIN,
    "series that begins with a mask": lambda: bound_together(BRAIN, scan(), scan()).astype(np.int16),
    "series that begins empty": lambda: bound_together(EMPTY, scan()).astype(np.int16),
    "nothing but 0": lambda: EMPTY,
}
NUMBERED_LINE = np.where((INDEX[..., 0] == 20) & (INDEX[..., 1] == 20), INDEX[..., 2], 0)
UNSURE: dict[str, Callable[[], np.ndarray]] = {
    "layers or a distance": lambda: (depth() // 3).clip(0, 6),
    "every voxel of a line with its own number": lambda: NUMBERED_LINE,
    "counts of a few people": lambda: sum(
        ndimage.shift(BRAIN.astype(float), (n, n / 2, 0), order=0) for n in range(-4, 5, 2)
    ),
}


def told(values: np.ndarray) -> bool | None:
    stored = values.astype({"bool": np.uint8, "int64": np.int32}.get(values.dtype.name, values.dtype))
    return holds_labels(open_series(nib.Nifti1Image(stored, np.eye(4), dtype=stored.dtype)))


@pytest.mark.parametrize("name", LABELS)
def test_labels(name: str) -> None:
    assert told(LABELS[name]()) is True


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str) -> None:
    assert told(IMAGES[name]()) is False


@pytest.mark.parametrize("name", UNSURE)
def test_what_may_be_both(name: str) -> None:
    assert told(UNSURE[name]()) is None


@pytest.mark.parametrize(
    ("numbers", "slope", "inter", "expected"),
    [
        (255 * BRAIN, 1 / 255, 0, True),
        (255 * BRAIN, 1 / 256, 0, True),  # 0 and 0.996
        (parcels(40) * 37, 1 / 37, 0, True),  # whole but for the rounding of the slope
        (np.rint(parcels(40) / 0.031), 0.031, 0, True),  # off by up to half a slope, as a tool that scales to 16 bits
        (probability(255), 1 / 255, 0, False),
        (scan(), 0.1, 0, False),
        (scan(), 3.3, -100, False),
        (parcels(40), 0.1, 0, None),  # labels of which someone wants tenths, or values of regions
    ],
)
def test_scale_factor_hides_nothing(
    tmp_path: Path, numbers: np.ndarray, slope: float, inter: float, expected: bool | None
) -> None:
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), np.eye(4))
    image.header.set_data_dtype(np.int16)
    content = bytearray(image.header.binaryblock)
    content[108:120] = np.array([352, slope, inter], "<f4").tobytes()  # vox_offset, scl_slope, scl_inter
    path = tmp_path / "scaled.nii"
    path.write_bytes(bytes(content) + bytes(4) + numbers.astype("<i2").tobytes(order="F"))
    assert holds_labels(open_series(path)) is expected


def test_series_is_read_up_to_the_first_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    series = open_series(nib.Nifti1Image(bound_together(EMPTY, scan(), *[scan()] * 8).astype(np.int16), np.eye(4)))
    read = []

    def volumes(self) -> Iterator[np.ndarray]:
        for number in range(self.count):
            read.append(number)
            yield np.asarray(self.data[..., number])

    monkeypatch.setattr(type(series), "volumes", volumes)
    assert holds_labels(series) is False
    assert read == [0, 1]


@pytest.mark.slow
def test_real_images_and_labels_are_told_apart(shared_data: Path) -> None:
    """One of each kind and site, at full size; all 151 files were tried once."""
    images = ["oasis35/imagesTr/OASIS_1003_0000.nii.gz", "raw/1003_T1.nii.gz", "landmarks/1003_T1.nii.gz"]
    images += ["aomic/sub-0001/T1.mgz", "aomic/sub-0002/norm.mgz", "contrasts/ms_raw/p01_study1_FLAIR.nii.gz"]
    images += ["contrasts/infants/T02_T1w.nii.gz", "contrasts/infants/T02_T2w.nii.gz", "contrasts/stroke/FLAIR.nii.gz"]
    labels = ["oasis35/labelsTr/OASIS_1003_0000.nii.gz", "raw/1003_labels.nii.gz", "landmarks/1003_DKT31.nii.gz"]
    labels += ["aomic/sub-0001/aparc+aseg.mgz", "labelmaps/training_seg_01.nii.gz", "contrasts/ms/p07_lesion.nii.gz"]
    labels += ["contrasts/infants/T02_label.nii.gz", "contrasts/infants/T03_label.nii.gz"]
    found = {name: holds_labels(open_series(shared_data / name)) for name in images + labels}
    assert found == {**dict.fromkeys(images, False), **dict.fromkeys(labels, True)}


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 5, 8])
def test_real_labels_of_large_voxels_stay_labels(shared_data: Path, step: int) -> None:
    for name in ("oasis35/labelsTr/OASIS_1003_0000.nii.gz", "landmarks/1003_DKT31.nii.gz"):
        labels = np.asanyarray(nib.load(shared_data / name).dataobj)
        assert told(labels[::step, ::step, ::step]) is True


@pytest.mark.slow
@pytest.mark.parametrize(("levels", "expected"), [(64, False), (32, False), (16, False), (8, None)])
def test_real_scan_of_few_gray_levels_is_no_label_map(shared_data: Path, levels: int, expected: bool | None) -> None:
    values = np.asanyarray(nib.load(shared_data / "oasis35/imagesTr/OASIS_1003_0000.nii.gz").dataobj)
    assert told(np.rint(values * ((levels - 1) / 255)).astype(np.uint8)) is expected
