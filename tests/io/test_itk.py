# SPDX-License-Identifier: Apache-2.0
"""ITK transform files: affines and composites as ITK itself reads and writes them, and damaged ones."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scripts.geometry import Affine, Chain, Grid, Transform, as_field
from scripts.io import read_transform, save_affine, save_composite
from scripts.runtime import InputError
from tests.io.case import LPS
from tests.io.examples import random_field


@pytest.mark.parametrize("ending", [".mat", ".tfm"])
def test_affine_there_and_back(tmp_path: Path, matrix: np.ndarray, ending: str) -> None:
    path = tmp_path / f"affine{ending}"
    save_affine(path, matrix)
    np.testing.assert_allclose(read_transform(path).matrix, matrix, atol=1e-12)
    assert os.listdir(tmp_path) == [path.name]


def itk_affines() -> dict[str, sitk.Transform]:
    center = (10.0, -20.0, 30.0)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.1, 0.1, 0, 0, 0.9, 0.05, 0.02, 0, 1))
    affine.SetTranslation((5, 6, 7))
    affine.SetCenter(center)
    euler = sitk.Euler3DTransform(center, 0.1, 0.2, 0.3, (4, 5, 6))
    similarity = sitk.Similarity3DTransform()
    similarity.SetParameters((0.1, 0.2, 0.05, 1, 2, 3, 1.2))
    similarity.SetCenter(center)
    return {
        "affine": affine,
        "Euler": euler,
        "similarity": similarity,
        "translation": sitk.TranslationTransform(3, (1, 2, 3)),
        "composite": sitk.CompositeTransform([affine, euler]),
    }


@pytest.mark.parametrize(
    ("name", "ending"),
    # ITK does not read a composite from .mat itself
    [(n, e) for n in itk_affines() for e in (".mat", ".tfm", ".txt", ".h5") if (n, e) != ("composite", ".mat")],
)
def test_affines_of_itk_send_points_where_itk_does(tmp_path: Path, name: str, ending: str) -> None:
    path, itk = tmp_path / f"itk{ending}", itk_affines()[name]
    sitk.WriteTransform(itk, str(path))
    ours = read_transform(path)
    assert isinstance(ours, Affine)
    for point in np.random.default_rng(0).uniform(-80, 80, (5, 3)):
        np.testing.assert_allclose(ours((point * LPS)[None])[0] * LPS, itk.TransformPoint(point), atol=1e-9)


def test_affine_of_itk_snap_is_read(tmp_path: Path) -> None:
    """`MatrixOffsetTransformBase`, which greedy and c3d_affine_tool write too: x -> M (x - c) + c + t, in LPS."""
    path = tmp_path / "snap.txt"
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: MatrixOffsetTransformBase_double_3_3\n"
        "Parameters: 1 0 0 0 2 0 0 0 1 5 6 7\nFixedParameters: 0 10 0\n"
    )
    ours = read_transform(path)
    assert isinstance(ours, Affine)
    # (1, 3, 2) in LPS: y is 2 * (3 - 10) + 10 + 6 = 2
    np.testing.assert_allclose(ours(np.array([[1.0, 3.0, 2.0]]) * LPS), np.array([[6.0, 2.0, 9.0]]) * LPS)


def test_composite_applies_the_affine_after_the_field(
    tmp_path: Path, matrix: np.ndarray, residual: Transform, points: np.ndarray, fixed: Grid
) -> None:
    field = as_field(residual, fixed)
    path = tmp_path / "transform.h5"
    save_composite(path, matrix, field)
    np.testing.assert_allclose(read_transform(path)(points), Chain([Affine(matrix), field])(points), atol=1e-5)
    by_itk = [sitk.ReadTransform(str(path)).TransformPoint(point) for point in (points * LPS).tolist()]
    np.testing.assert_allclose(np.array(by_itk) * LPS, Affine(matrix)(field(points)), atol=1e-4)


@pytest.mark.parametrize("ending", [".mat", ".tfm", ".h5"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_itk_file_that_is_cut_short_is_refused(tmp_path: Path, ending: str, part: float) -> None:
    path = tmp_path / f"cut{ending}"
    sitk.WriteTransform(itk_affines()["affine"], str(path))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match=rf"cut\{ending}"):
        read_transform(path)


@pytest.mark.parametrize(
    "name", ["html.h5", "html.mat", "flirt.mat", "words.txt", "b-spline.h5", "flat.tfm", "plane.tfm"]
)
def test_other_files_with_itk_endings_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    spline = sitk.BSplineTransformInitializer(sitk.Image([8, 8, 8], sitk.sitkFloat32), [3, 3, 3])
    write = {
        "flirt.mat": lambda: np.savetxt(path, np.eye(4)),
        "b-spline.h5": lambda: sitk.WriteTransform(spline, str(path)),
        "flat.tfm": lambda: sitk.WriteTransform(sitk.Euler2DTransform(), str(path)),
        "plane.tfm": lambda: sitk.WriteTransform(sitk.ScaleTransform(3, (1, 1, 0)), str(path)),
    }
    write.get(name, lambda: path.write_text("<html>"))()
    with pytest.raises(InputError, match=name):
        read_transform(path)


def test_second_transform_of_a_list_is_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "two.tfm"
    save_affine(path, np.eye(4))
    lines = path.read_text()
    path.write_text(lines + lines[lines.index("#Transform 0") :].replace("#Transform 0", "#Transform 1"))
    with pytest.raises(InputError, match=r"two\.tfm"):
        read_transform(path)


def test_second_transform_of_a_list_in_hdf5_is_not_dropped(tmp_path: Path) -> None:
    """As 3D Slicer once wrote them: no composite stands before the parts."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "list.h5"
    save_composite(path, np.eye(4), random_field())
    with h5py.File(path, "r+") as file:
        group = file["TransformGroup"]
        del group["0"]
        group.move("1", "0")
        group.move("2", "1")
    with pytest.raises(InputError, match=r"list\.h5.*list of several"):
        read_transform(path)
