# SPDX-License-Identifier: Apache-2.0
"""surfa, FreeSurfer's library, and fslpy apply what we write as we do, and what they write we read."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from scripts.geometry import Affine, Field, Grid, Transform
from scripts.io import read_transform, write_transform
from tests.io.case import IMAGES_TO_MOVE, Case, assert_same


@pytest.fixture
def surfa() -> ModuleType:
    return pytest.importorskip("surfa")


@pytest.fixture
def nonlinear() -> ModuleType:
    """fslpy's fields; FSL itself is not needed."""
    return pytest.importorskip("fsl.transform.nonlinear")


@pytest.fixture
def case(tmp_path: Path, truth: Transform, fixed: Grid, moving: Grid) -> Case:
    return Case(tmp_path, truth, fixed, moving)


# --- surfa, FreeSurfer's library --------------------------------------------------------------------------------------


def test_surfa_moves_images_as_we_do(surfa: ModuleType, case: Case) -> None:
    write_transform(case.path("warp.nii.gz"), case.truth, "dispvect", case.fixed)
    warp = surfa.load_warp(case.path("warp.nii.gz"))
    warp.source = surfa.load_volume(case.path("moving.nii.gz"))
    for name in IMAGES_TO_MOVE:
        case.check(name, warp.transform(surfa.load_volume(case.path(f"{name}.nii.gz"))).data)


def test_we_read_what_surfa_writes(surfa: ModuleType, case: Case, field: Field, points: np.ndarray) -> None:
    index = np.moveaxis(np.indices(case.fixed.shape), 0, -1)
    to_voxels = Affine(np.linalg.inv(case.moving.affine))
    shift = to_voxels(case.ends).reshape(*case.fixed.shape, 3) - index
    source, target = (surfa.load_volume(case.path(f"{role}.nii.gz")) for role in ("moving", "fixed"))
    surfa.Warp(shift.astype(np.float32), source, target, format=surfa.Warp.Format.disp_crs).save(case.path("w.nii.gz"))
    assert_same(read_transform(case.path("w.nii.gz")), field, points)


# --- fslpy ------------------------------------------------------------------------------------------------------------


def test_fslpy_moves_points_as_we_do(nonlinear: ModuleType, case: Case, voxel_points: Callable) -> None:
    from fsl.data.image import Image
    from fsl.transform.fnirt import readFnirt

    write_transform(case.path("warp.nii.gz"), case.truth, "fsl", case.fixed, case.moving)
    images = [Image(case.path(f"{role}.nii.gz")) for role in ("moving", "fixed")]
    warp = readFnirt(case.path("warp.nii.gz"), *images, defType="relative")
    _, points = voxel_points(0)  # fslpy does not interpolate
    assert_same(lambda x: warp.transform(x, "world", "world"), case.truth, points)


def test_fslpy_moves_images_as_we_do(nonlinear: ModuleType, case: Case) -> None:
    from fsl.data.image import Image
    from fsl.transform.fnirt import readFnirt

    write_transform(case.path("warp.nii.gz"), case.truth, "fsl", case.fixed, case.moving)
    images = [Image(case.path(f"{role}.nii.gz")) for role in ("moving", "fixed")]
    warp = readFnirt(case.path("warp.nii.gz"), *images, defType="relative")
    for name in IMAGES_TO_MOVE:
        case.check(name, nonlinear.applyDeformation(Image(case.path(f"{name}.nii.gz")), warp))


def test_we_read_what_fslpy_writes(nonlinear: ModuleType, case: Case, field: Field, points: np.ndarray) -> None:
    from fsl.data.image import Image
    from fsl.transform.fnirt import toFnirt

    source, reference = (Image(case.path(f"{role}.nii.gz")) for role in ("moving", "fixed"))
    world = nonlinear.DeformationField(
        field.displacement,
        source,
        reference,
        srcSpace="world",
        refSpace="world",
        defType="relative",
        header=nib.load(case.path("fixed.nii.gz")).header,
    )
    toFnirt(world).save(case.path("fnirt.nii.gz"))
    assert_same(read_transform(case.path("fnirt.nii.gz"), moving=case.moving), field, points)
