# SPDX-License-Identifier: Apache-2.0
"""Affine pre-alignment of two scans, whatever their positions and contrasts, by mutual information (SimpleITK).

Both scans are first resampled to grids along the RAS axes: then the result does not depend on how their voxels are
stored. Rotations in all directions are tried at 8 mm, the better ones refined there, the best of these at 4 and 2 mm.
Scans of different size are tried at their own sizes, and with the smaller one as large as the other.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scripts.geometry.pyramid import SPACINGS, Matrix, Pyramid, Unknown, scaling

_BINS = 32  # of the joint histogram, along each axis
_SHIFT = 20.0  # mm between the starts for scans that are partly unknown
_FEW = 100  # voxels of a level, with fewer to compare of what is known a map is left as it is
_DRIFT = 1  # voxels around the unknown part of a moving scan that are not compared either: it may shift so far
# Of a scan that is partly unknown less is compared, and a slab of 24 mm looks like a brain upside down as well: turned
# by more than this, radians, a start must have mutual information to spare.
_UPRIGHT, _DOUBT = np.radians(45), 0.9
_KEPT = 16  # starts that are refined at the coarsest level
_POINTS = (4_000, 15_000, 40_000)  # number of points that are compared at each level
# Scale of the linear part's steps, mm. A brain's radius is 40 mm, but with that the optimizer goes back and forth along
# rotations and stretches, and hardly shifts.
_RADIUS = 160.0
_PRECISION = 1e-3  # of a voxel, when to stop
_ITERATIONS = {"rigid": (60, 60, 60), "similarity": (600, 600, 100), "affine": (600, 600, 100)}  # at each level
_CHANGES: dict[str, Callable[[], sitk.Euler3DTransform | sitk.Similarity3DTransform | sitk.AffineTransform]] = {
    "rigid": sitk.Euler3DTransform,
    "similarity": sitk.Similarity3DTransform,
    "affine": lambda: sitk.AffineTransform(3),
}
_RELAXATION = 0.95
# The largest ratio of two scans' sizes that are tried at their own sizes only. Heads of the same size but for 1.17 were
# turned by 68 degrees so.
_ALIKE = 1.1
_SCALE = 3.0  # the largest stretch between two brains: twice as large, and the differences of anatomy
_ANISOTROPY = 1.6  # the largest ratio of the stretches along two axes


def align(
    fixed: NDArray,
    fixed_affine: Matrix,
    moving: NDArray,
    moving_affine: Matrix,
    kind: Literal["affine", "similarity", "rigid"] = "affine",
    fixed_mask: NDArray | None = None,
    moving_mask: NDArray | None = None,
    seed: int = 0,
    fixed_unknown: Unknown | None = None,
    moving_unknown: Unknown | None = None,
) -> Matrix:
    """Find the affine map between two scans, or a more restricted one.

    Args:
        fixed: fixed scan, `(X, Y, Z)` in [0, 1], background 0.
        fixed_affine: `(4, 4)`, voxel of the fixed scan to RAS mm.
        moving: moving scan, of any size, in [0, 1], background 0.
        moving_affine: `(4, 4)`, voxel of the moving scan to RAS mm.
        kind: `affine`, `similarity` (rigid, and one scale for all axes) or `rigid`.
        fixed_mask: mask on the grid of `fixed`, above 0 where voxels count; by default all do.
        moving_mask: mask on the grid of `moving`, likewise.
        seed: seed of the random points at which the scans are compared.
        fixed_unknown: tells where on a grid the fixed scan's content is unknown; nothing is compared there.
        moving_unknown: the same of the moving scan.

    Returns:
        `(4, 4)`, points of the fixed to points of the moving scan, RAS mm. Where the affine map stretches more than
        brains differ, one with the same scale along all axes, 1 or the ratio of the foregrounds' sizes: see
        `has_one_scale`.

    Raises:
        ValueError: for another kind, or a scan without foreground.
    """
    if kind not in _CHANGES:
        raise ValueError(f"kind is affine, similarity or rigid, not {kind}")
    with _one_thread():
        target = Pyramid(fixed, fixed_affine, fixed_mask, fixed_unknown)
        source = Pyramid(moving, moving_affine, moving_mask, moving_unknown)
        start = _start(target, source, seed)
        if kind == "rigid":
            return _refine(start.rigid, target, source, 2, "rigid", seed)
        ratio = _size_ratio(target, source)
        if not 1 / _ALIKE < ratio < _ALIKE:
            # The smaller scan is enlarged: made smaller, the larger one would lose detail at the levels' spacings.
            sizes = max(1.0, ratio), max(1.0, 1 / ratio)
            larger, other = target, source
            if ratio > 1:
                larger = Pyramid(fixed, fixed_affine, fixed_mask, fixed_unknown, sizes[0])
            else:
                other = Pyramid(moving, moving_affine, moving_mask, moving_unknown, sizes[1])
            starts = [start, _start(larger, other, seed, sizes)]
            values = _values([start.original(start.rigid) for start in starts], target, source, 1)
            start = starts[int(np.argmin(values))]
        return _stretched(start, kind, seed)


def has_one_scale(matrix: Matrix) -> bool:
    """Whether a map `(4, 4)` stretches all axes alike: a rigid one, a similarity, or no plausible affine was found."""
    stretches = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    # Within rounding; those of affine maps that are found differ by 1e-4 and more.
    return bool(stretches[0] < stretches[2] * (1 + 1e-6))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, so the same result every time and on any machine.

    A method's own number of threads does not reach its metric, hence ITK's global one. So few points gain little from
    more threads.
    """
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


class _Start(NamedTuple):
    """The best rigid map between two scans, one of them possibly enlarged.

    Attributes:
        target: the fixed scan.
        source: the moving scan.
        rigid: the map.
        sizes: factors by which the fixed and the moving scan are enlarged.
    """

    target: Pyramid
    source: Pyramid
    rigid: Matrix
    sizes: tuple[float, float]

    def original(self, matrix: Matrix) -> Matrix:
        """A map between the two as one between the scans in their own sizes."""
        return scaling(1 / self.sizes[1]) @ matrix @ scaling(self.sizes[0])


def _size_ratio(target: Pyramid, source: Pyramid) -> float:
    """Size of the moving foreground in sizes of the fixed one, along an axis."""
    if target.known is None and source.known is None:
        return round((source.volume / target.volume) ** (1 / 3), 3)
    # Of the three extents one may be cut.
    return round(float(np.median(np.sort(source.extents(source.axes)) / np.sort(target.extents(target.axes)))), 3)


def _start(target: Pyramid, source: Pyramid, seed: int, sizes: tuple[float, float] = (1.0, 1.0)) -> _Start:
    """Turn the scan in all directions and keep the best."""
    matrices = _best(_starts(target, source), target, source, 0, _KEPT)
    matrices = [_refine(matrix, target, source, 0, "rigid", seed) for matrix in matrices]
    matrices = [_refine(matrix, target, source, 1, "rigid", seed) for matrix in _best(matrices, target, source, 1, 3)]
    return _Start(target, source, _best(matrices, target, source, 1, 1)[0], sizes)


def _stretched(start: _Start, kind: str, seed: int) -> Matrix:
    matrix = start.rigid
    for level in range(len(SPACINGS)):
        matrix = _refine(matrix, start.target, start.source, level, kind, seed)
    if _plausible(start.original(matrix)):
        return start.original(matrix)
    return start.original(_refine(start.rigid, start.target, start.source, 2, "rigid", seed))


def _starts(target: Pyramid, source: Pyramid) -> list[Matrix]:
    """Rotations in all directions, at most about 30 degrees apart, about the centers of the scans.

    Where a scan is partly unknown, the center of the rest may lie anywhere: there are starts with it shifted along the
    scan's own axes as far as the scans' extents differ. Of all directions that would be too many: it is done where the
    heads lie alike in the world, or in the volumes, which a wrong header may turn.
    """
    partly_known = target.known is not None or source.known is not None
    in_volumes = Rotation.from_matrix(source.axes @ target.axes.T)
    tilts = [Rotation.identity(), *([in_volumes] if partly_known else [])]
    tilts += [Rotation.from_rotvec(np.radians(30) * axis * sign) for axis in np.eye(3) for sign in (-1, 1)]
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=3))) / np.sqrt(3)
    tilts += [Rotation.from_rotvec(np.radians(40) * corner) for corner in corners]
    starts = []
    for tilt, turn in itertools.product(tilts, Rotation.create_group("O")):
        matrix = np.eye(4)
        matrix[:3, :3] = rotation = (turn * tilt).as_matrix()
        axes = target.axes if target.known is not None else rotation.T @ source.axes
        lack: NDArray[np.float64] = np.zeros(3)
        if partly_known and (tilt in (tilts[0], in_volumes) or turn.magnitude() == 0):
            lack = np.abs(target.extents(axes) - source.extents(rotation @ axes)) / 2
        for shift in itertools.product(*(_SHIFT * np.arange(-(n // _SHIFT), n // _SHIFT + 1) for n in lack)):
            matrix[:3, 3] = source.center - rotation @ (target.center + axes @ shift)
            starts.append(matrix.copy())
    return starts


def _method(target: Pyramid, level: int, seed: int, compared: sitk.Image) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(compared)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMetricSamplingStrategy(method.RANDOM)
    share = min(1.0, _POINTS[level] / target.near[level].GetNumberOfPixels())
    method.SetMetricSamplingPercentage(share, seed + 1)  # 0 would be the clock
    return method


def _compared(matrix: Matrix, target: Pyramid, source: Pyramid, level: int) -> sitk.Image:
    """Where the scans are compared while a matrix is improved.

    With a mask of the moving scan instead, points would come and go on the way, and a climb would also follow what
    their number does to mutual information: scans that are cut off by 30 mm came out 6 % too short.
    """
    if source.known is None:
        return target.rims[level]
    moved = sitk.Resample(source.known[level], target.near[level], _transform(matrix), sitk.sitkNearestNeighbor, 0)
    return target.rims[level] & sitk.BinaryErode(moved, [_DRIFT] * 3, sitk.sitkBox)


def _best(matrices: Sequence[Matrix], target: Pyramid, source: Pyramid, level: int, count: int) -> list[Matrix]:
    """The matrices that make the scans most similar, best first."""
    order = np.argsort(_values(matrices, target, source, level), kind="stable")
    return [matrices[index] for index in order[:count]]


def _values(matrices: Sequence[Matrix], target: Pyramid, source: Pyramid, level: int) -> list[float]:
    method = _method(target, level, 0, target.rims[level])
    partly_known = source.known is not None or target.known is not None
    if source.known is not None:
        method.SetMetricMovingMask(source.known[level])
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    values = []
    for matrix in matrices:
        method.SetInitialTransform(_transform(matrix))
        value = method.MetricEvaluate(target.near[level], source.images[level])
        doubtful = partly_known and Rotation.from_matrix(matrix[:3, :3]).magnitude() > _UPRIGHT
        values.append(_DOUBT * value if doubtful else value)
    return values


def _refine(matrix: Matrix, target: Pyramid, source: Pyramid, level: int, kind: str, seed: int) -> Matrix:
    """Improve a matrix: `matrix @ change`, with a change near the identity, about the fixed scan's center."""
    change = _CHANGES[kind]()
    change.SetFixedParameters([*target.center.tolist(), *change.GetFixedParameters()[3:]])
    compared = _compared(matrix, target, source, level)
    if np.count_nonzero(sitk.GetArrayViewFromImage(compared)) < _FEW:
        return matrix
    method = _method(target, level, seed, compared)
    method.SetMovingInitialTransform(_transform(matrix))
    method.SetInitialTransform(change, inPlace=True)
    scales = [_RADIUS**2] * change.GetNumberOfParameters()
    shifts = slice(3, 6) if kind == "similarity" else slice(-3, None)
    scales[shifts] = [1.0] * 3
    method.SetOptimizerScales(scales)
    spacing = SPACINGS[level]
    method.SetOptimizerAsRegularStepGradientDescent(
        spacing, spacing * _PRECISION, _ITERATIONS[kind][level], _RELAXATION
    )
    method.Execute(target.near[level], source.images[level])
    found = np.eye(4)
    found[:3, :3] = np.reshape(change.GetMatrix(), (3, 3))
    found[:3, 3] = change.TransformPoint((0.0, 0.0, 0.0))
    return matrix @ found


def _transform(matrix: Matrix) -> sitk.AffineTransform:
    return sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())


def _plausible(matrix: Matrix) -> bool:
    stretches = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    return bool(stretches[0] < _SCALE and stretches[2] > 1 / _SCALE and stretches[0] / stretches[2] < _ANISOTROPY)
