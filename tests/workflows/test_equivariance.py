# SPDX-License-Identifier: Apache-2.0
"""However the scans are stored, the result is the same in the world.

The scans are resaved (flipped, axes exchanged, padded: the same numbers at the same places), or taken again on a grid
that is turned, which is what a resampling without any error would give. The registration ends with a field of some mm
and one affine found anew each time.
"""

from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec
from nibabel.orientations import inv_ornt_aff
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scripts.geometry.transforms import Affine
from scripts.io.field_formats import read_transform
from tests.fixtures.heads import Scan
from tests.workflows.places import HEAD

pytestmark = pytest.mark.usefixtures("keep_any_deformation")

TURN = Rotation.from_euler("xyz", [8, -12, 20], degrees=True).as_matrix()
MOTION = from_matvec(Rotation.from_euler("xyz", [8, -6, 10], degrees=True).as_matrix(), [9, -14, 6])


Run = Callable[..., tuple[NDArray, NDArray, Scan]]


def flipped(scan: Scan, axes: tuple[int, ...], signs: tuple[int, ...]) -> Scan:
    orientation = np.array(list(zip(axes, signs, strict=True)))
    array = nib.orientations.apply_orientation(scan.array, orientation)
    return Scan(array, scan.affine @ inv_ornt_aff(orientation, scan.array.shape))


def padded(scan: Scan, before: tuple[int, ...], after: tuple[int, ...]) -> Scan:
    array = np.pad(scan.array, list(zip(before, after, strict=True)))
    return Scan(array, scan.affine @ from_matvec(np.eye(3), -np.array(before)))


STORAGES = {
    "flipped": ((0, 1, 2), (-1, 1, -1), (0, 0, 0), (0, 0, 0)),
    "axes exchanged": ((2, 0, 1), (1, 1, 1), (0, 0, 0), (0, 0, 0)),
    "padded": ((0, 1, 2), (1, 1, 1), (3, 0, 5), (0, 2, 6)),
    "all of it": ((1, 2, 0), (-1, 1, 1), (2, 5, 0), (4, 0, 3)),
}


def resaved(scan: Scan, storage: str) -> Scan:
    axes, signs, before, after = STORAGES[storage]
    return flipped(padded(scan, before, after), axes, signs)


@pytest.fixture(scope="module")
def scan(scan_of: Callable, grid_of: Callable) -> Callable[..., Scan]:
    """`scan("fixed", 1.0, turn)`: the fixed or the moving head on a grid, so many times the phantom's size."""

    def make(role: str, size: float = 1.0, turn: NDArray | None = None) -> Scan:
        if role == "fixed":
            return scan_of(grid_of("RAS", turn=turn), size=size)
        return scan_of(grid_of("LAS", (1.5, 2, 2.5), turn), MOTION, size)

    return make


@pytest.fixture(scope="module")
def run(register: Callable, tmp_path_factory: pytest.TempPathFactory, scan: Callable) -> Run:
    """`run(fixed, moving, size, init)`: where affine and warp take points of the head, and the moved image."""

    def make(fixed: Scan, moving: Scan, size: float, init: str) -> tuple[NDArray, NDArray, Scan]:
        folder = tmp_path_factory.mktemp("run")
        for name, image in (("F", fixed), ("M", moving)):
            nib.save(nib.Nifti1Image(image.array, image.affine), folder / f"{name}.nii.gz")
        # Bfloat16 makes a few hundredths of a mm of the rounding errors of a grid.
        metrics = register(folder / "F.nii.gz", folder / "M.nii.gz", folder, init=init, bf16=False)
        original = scan("fixed", size)
        points = Affine(original.affine)(np.argwhere(original.array > 50).astype(np.float64))
        moved = nib.load(folder / "moved.nii.gz")
        affine = Affine(np.array(metrics["affine"]["matrix"]))(points)
        return affine, read_transform(folder / "warp.nii.gz")(points), Scan(moved.get_fdata(), moved.affine)

    return make


@pytest.fixture(scope="module")
def phantoms_as_they_are(run: Run, scan: Callable) -> tuple[NDArray, NDArray, Scan]:
    return run(scan("fixed"), scan("moving"), 1.0, "none")


@pytest.fixture(scope="module")
def heads_as_they_are(run: Run, scan: Callable) -> tuple[NDArray, NDArray, Scan]:
    return run(scan("fixed", HEAD), scan("moving", HEAD), HEAD, "affine")


def distances(first: NDArray, second: NDArray) -> NDArray:
    return np.linalg.norm(first - second, axis=1)


def assert_same_numbers(again: Scan, moved: Scan, tolerance: float) -> None:
    """The moved image has the fixed one's grid: the same numbers at the same places."""
    places = Affine(moved.affine)(np.argwhere(moved.array > 0).astype(np.float64))
    voxels = np.round(Affine(np.linalg.inv(again.affine))(places)).astype(int)
    np.testing.assert_allclose(again.array[tuple(voxels.T)], moved.array[moved.array > 0], atol=tolerance)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("roles", [("fixed",), ("moving",), ("fixed", "moving")], ids="+".join)
def test_resaved_scans_meet_the_same_network(
    run: Run, scan: Callable, phantoms_as_they_are: tuple, roles: tuple[str, ...], storage: str
) -> None:
    """Without affine alignment: all that is left is rounding."""
    scans = [resaved(scan(role), storage) if role in roles else scan(role) for role in ("fixed", "moving")]
    affine, expected, moved = phantoms_as_they_are
    _, found, again = run(*scans, 1.0, "none")
    assert distances(expected, affine).mean() > 1.0
    assert distances(found, expected).max() < 1e-3
    assert_same_numbers(again, moved, 0.2)  # of about 1000


@pytest.mark.slow
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_resaved_scans_are_registered_the_same(run: Run, scan: Callable, heads_as_they_are: tuple, role: str) -> None:
    """The affine is found by many small steps, which rounding may part; here they end within a twentieth of a mm."""
    scans = {name: scan(name, HEAD) for name in ("fixed", "moving")}
    scans[role] = resaved(scans[role], "all of it")
    affine, expected, moved = heads_as_they_are
    found_affine, found, again = run(*scans.values(), HEAD, "affine")
    assert distances(expected, affine).mean() > 0.4
    assert distances(found_affine, affine).max() < 0.05
    assert distances(found, expected).max() < 0.05
    assert_same_numbers(again, moved, 5.0)  # of about 1000


@pytest.mark.slow
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_turned_scan_is_registered_alike(run: Run, scan: Callable, heads_as_they_are: tuple, role: str) -> None:
    """A tenth of a voxel, which are of 6 mm here: other voxels mean other interpolation errors, other samples for the
    affine, and a network's grid that lies some tenths of a mm elsewhere. Networks do not quite follow a shift."""
    scans = {name: scan(name, HEAD) for name in ("fixed", "moving")}
    scans[role] = scan(role, HEAD, TURN)
    affine, expected, _ = heads_as_they_are
    found_affine, found, _ = run(*scans.values(), HEAD, "affine")
    assert distances(found_affine, affine).max() < 0.6
    assert distances(found, expected).mean() < 0.6
