# SPDX-License-Identifier: Apache-2.0
"""ITK transform files: affine `.mat`, `.tfm` and `.txt`, composite `.h5`, as ANTs and 3D Slicer read and write them.

ITK's world is LPS. Its transforms pull back, as ours do, and of a composite the last one is applied first.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.io import loadmat

from scripts.geometry import LPS, LPS_SIGNS, Affine, Chain, Field, Transform, is_sheared
from scripts.io.files import FilePath, existing_file
from scripts.io.nifti import check_finite
from scripts.io.plausible import check_plausible
from scripts.io.writing import whole_file
from scripts.runtime import InputError

ITK_ENDINGS = (".h5", ".hdf5", ".mat", ".tfm", ".txt")
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def read_itk_transform(path: FilePath) -> Transform:
    """Read a transform file of ITK, ANTs or 3D Slicer.

    Args:
        path: path of a `.mat`, `.tfm`, `.txt`, `.h5` or `.hdf5` file that holds an affine transform of any kind, a
            displacement field, or a composite of these.

    Returns:
        In RAS mm: an `Affine`, a `Field`, or a `Chain` of them.

    Raises:
        InputError: if the file is missing, damaged, cut short, not 3-D, of a kind that cannot be read, such as a
            B-spline, or if a field in it cannot be one (see `check_plausible`).
    """
    file = existing_file(path)
    _check_hdf5(path, file)
    try:
        transform = sitk.ReadTransform(str(file))
    except RuntimeError as error:
        raise InputError(
            f"{path}: not an ITK transform, or damaged; give .mat, .tfm or .h5 as ITK, ANTs or 3D Slicer write them"
        ) from error
    if transform.GetDimension() != 3:
        raise InputError(f"{path}: a {transform.GetDimension()}-D transform; give a 3-D one")
    _check_complete(path, file, transform)
    return _from_itk(path, transform)


def save_affine(path: FilePath, matrix: NDArray[np.floating]) -> None:
    """Write an affine as an ITK transform.

    Args:
        path: path that ends in `.mat` (binary, as ANTs names it) or `.tfm` (text); its folder exists.
        matrix: `(4, 4)`, fixed to moving points, RAS mm.

    Raises:
        InputError: for another ending, or if the file cannot be written.
    """
    if Path(path).suffix.lower() not in (".mat", ".tfm"):
        raise InputError(f"{path}: an ITK affine is to be written; give a name that ends in .mat or .tfm")
    _save(path, _itk_affine(matrix))


def save_composite(path: FilePath, affine_matrix: NDArray[np.floating], field: Field) -> None:
    """Write an affine and a field as an ITK composite: `T(x) = A (x + u(x))`.

    Args:
        path: path that ends in `.h5`; its folder exists.
        affine_matrix: `A`, `(4, 4)`, RAS mm to RAS mm.
        field: `u`, on the fixed grid.

    Raises:
        InputError: for another ending, a sheared grid, or if the file cannot be written.
    """
    _save_h5(path, [_itk_affine(affine_matrix), _itk_field(path, field)])


def save_field_h5(path: FilePath, field: Field) -> None:
    """Write a field as an ITK composite of this one transform.

    Args:
        path: path that ends in `.h5`; its folder exists.
        field: field on the fixed grid.

    Raises:
        InputError: as `save_composite`.
    """
    _save_h5(path, [_itk_field(path, field)])


def check_itk_grid(path: FilePath, affine: NDArray) -> None:
    """Refuse a grid that an ITK image cannot have.

    Args:
        path: path of the file that is to be written, for the message.
        affine: `(4, 4)`, voxel to RAS mm.

    Raises:
        InputError: if its axes are not at right angles.
    """
    if is_sheared(affine):
        raise InputError(
            f"{path}: ITK has no sheared grids, and the fixed image's is one; "
            "resample the fixed image to a grid with right angles, or choose another format"
        )


def _save_h5(path: FilePath, transforms: Sequence[sitk.Transform]) -> None:
    if Path(path).suffix.lower() != ".h5":
        raise InputError(f"{path}: an ITK composite is to be written; give a name that ends in .h5")
    # Always a composite: 3D Slicer does not take a plain list of transforms.
    _save(path, sitk.CompositeTransform(list(transforms)))


def _save(path: FilePath, transform: sitk.Transform) -> None:
    with whole_file(path) as file:
        try:
            sitk.WriteTransform(transform, str(file))
        except RuntimeError as error:
            raise OSError("ITK could not write it") from error


def _itk_affine(matrix: NDArray[np.floating]) -> sitk.AffineTransform:
    lps = LPS @ matrix @ LPS
    return sitk.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist())


def _itk_field(path: FilePath, field: Field) -> sitk.DisplacementFieldTransform:
    check_itk_grid(path, field.affine)
    # SimpleITK's arrays are (Z, Y, X, C).
    vectors = (field.displacement.astype(np.float64) * LPS_SIGNS).transpose(2, 1, 0, 3)
    image = sitk.GetImageFromArray(vectors, isVector=True)
    spacing = field.grid.spacing
    lps = LPS @ field.affine
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return sitk.DisplacementFieldTransform(image)


def _from_itk(path: FilePath, transform: sitk.Transform) -> Transform:
    if transform.IsLinear():
        return _from_linear(path, transform)
    specific = transform.Downcast()
    if parts := _parts(specific):
        return Chain([_from_itk(path, part) for part in parts])
    if isinstance(specific, sitk.DisplacementFieldTransform):
        return _from_field(path, specific)
    raise InputError(
        f"{path}: cannot use a {transform.GetName()}; convert it to a displacement field with its own tool"
    )


def _from_linear(path: FilePath, transform: sitk.Transform) -> Affine:
    # Whatever its parameters mean: the images of four points give its matrix.
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([transform.TransformPoint(unit) for unit in np.eye(3).tolist()], axis=1) - origin[:, None]
    matrix[:3, 3] = origin
    check_finite(path, matrix)
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise InputError(f"{path}: this affine is singular: it maps space to a plane; give another one")
    return Affine(LPS @ matrix @ LPS)


def _from_field(path: FilePath, transform: sitk.DisplacementFieldTransform) -> Field:
    image = transform.GetDisplacementField()
    vectors = sitk.GetArrayFromImage(image).transpose(2, 1, 0, 3) * LPS_SIGNS
    check_finite(path, vectors)
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    field = Field(np.ascontiguousarray(vectors, dtype=np.float32), LPS @ affine)
    check_plausible(path, field)
    return field


def _parts(transform: sitk.Transform) -> list[sitk.Transform]:
    """The transforms that a composite is made of; none of any other kind."""
    if not isinstance(transform, sitk.CompositeTransform):
        return []
    parts = [transform.GetNthTransform(number) for number in range(transform.GetNumberOfTransforms())]
    # SimpleITK shows a MatrixOffsetTransformBase, as ITK-SNAP and greedy write affines, as a composite of itself.
    of_itself = len(parts) == 1 and parts[0].IsLinear() and isinstance(parts[0].Downcast(), sitk.CompositeTransform)
    return [] if of_itself else parts


def _check_hdf5(path: FilePath, file: Path) -> None:
    """Refuse a file without HDF5's signature: the library would print many lines before it fails."""
    if file.suffix.lower() in (".h5", ".hdf5"):
        with file.open("rb") as raw:
            if raw.read(len(_HDF5_SIGNATURE)) != _HDF5_SIGNATURE:
                raise InputError(f"{path}: not an HDF5 file; copy or download it again")


def _check_complete(path: FilePath, file: Path, transform: sitk.Transform) -> None:
    """Compare what is in a file with what ITK has read from it.

    Of several transforms ITK takes the first and drops the rest; where the numbers of an affine end too early, it goes
    on with an identity, or without the center.
    """
    ending = file.suffix.lower()
    if ending in (".h5", ".hdf5"):
        # Each group of the file names its transform's type; a composite has one group more than it has parts.
        complete = file.read_bytes().count(b"TransformType") <= _count_groups(transform)
    else:
        complete = (_count_mat(file) if ending == ".mat" else _count_text(file)) == _count_numbers(transform)
    if not complete:
        raise InputError(
            f"{path}: the file is cut short, or a plain list of several transforms; "
            "copy it again, or write the transforms as one composite"
        )


def _count_groups(transform: sitk.Transform) -> int:
    return 1 + len(_parts(transform.Downcast()))


def _count_numbers(transform: sitk.Transform) -> int:
    if parts := _parts(transform.Downcast()):
        return sum(_count_numbers(part) for part in parts)
    return len(transform.GetParameters()) + len(transform.GetFixedParameters())


def _count_mat(file: Path) -> int:
    try:
        return sum(values.size for name, values in loadmat(file).items() if not name.startswith("__"))
    except Exception:  # of any kind: scipy checks little before it reads
        return 0


def _count_text(file: Path) -> int:
    lines = file.read_text(errors="replace").splitlines()
    return sum(
        len(line.split(":")[1].split()) for line in lines if line.startswith(("Parameters:", "FixedParameters:"))
    )
