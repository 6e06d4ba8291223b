# SPDX-License-Identifier: Apache-2.0
"""Whether a field can be what it was read as: positions read as displacements, or the reverse, show in all of it."""

import logging

import numpy as np

from scripts.geometry import Affine, Field
from scripts.io.files import FilePath
from scripts.io.images import MIN_SIZE
from scripts.runtime import InputError

logger = logging.getLogger(__name__)

_POINTS = 16  # along each axis, at which a field is looked at
# By how much the whole is stretched along the axis where it is least and where it is most. For a pair of one size,
# displacements read as positions give 0 along an axis, and positions read as displacements 2, at any rotation; brains
# of half to 1.8 times the size 0.5 and 1.8.
_COLLAPSED, _LEAST, _MOST = 0.2, 0.4, 1.9
_FAR = 150.0  # mm, median length of the vectors: more than the distance between two brains' centers in one world


def check_plausible(path: FilePath, field: Field) -> None:
    """Refuse a field that maps everything nearly to a plane, line or point, and log what is odd about others.

    Args:
        path: path of its file, for messages.
        field: the field as it was read. One of fewer than `MIN_SIZE` voxels along an axis is too small to tell.

    Raises:
        InputError: if the fixed image is shrunk to less than a fifth along an axis.
    """
    shape = field.grid.shape
    if min(shape) < MIN_SIZE:
        return
    picked = np.ix_(*[np.linspace(0, n - 1, min(n, _POINTS)).round().astype(int) for n in shape])
    vectors = field.displacement[picked].reshape(-1, 3).astype(np.float64)
    start = Affine(field.affine)(np.stack(np.broadcast_arrays(*picked), axis=-1).reshape(-1, 3).astype(np.float64))
    matrix, *_ = np.linalg.lstsq(np.column_stack([start, np.ones(len(start))]), start + vectors, rcond=None)
    most, _, least = np.linalg.svd(matrix[:3], compute_uv=False)
    if least < _COLLAPSED:
        raise InputError(
            f"{path}: shrinks the whole fixed image to {least:.2g} times its size along an axis, as displacements do "
            "that are read as positions; give its right format to `convert --source`"
        )
    if np.linalg.det(matrix[:3]) < 0:
        logger.warning("%s: mirrors the fixed image; is the field of another format?", path)
    elif least < _LEAST or most > _MOST:
        odd = f"stretches the fixed image {least:.2g} to {most:.2g} times; are these displacements, or positions?"
        logger.warning("%s: %s", path, odd)
    length = float(np.median(np.linalg.norm(vectors, axis=1)))
    if length > _FAR:
        odd = f"half of its vectors are longer than {length:.0f} mm; is that how far the images lie apart?"
        logger.warning("%s: %s", path, odd)
