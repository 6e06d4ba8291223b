# SPDX-License-Identifier: Apache-2.0
"""Images and fields continued smoothly into a region from what surrounds it."""

import numpy as np
import scipy.sparse as sparse
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.sparse.linalg import cg
from torch.nn.functional import avg_pool3d, interpolate, pad

# Voxels over which slopes go on beyond the border of a region, before they end in a constant.
SLOPE_OF_FIELD, SLOPE_OF_IMAGE = 15.0, 3.0
_STEP = 3  # voxels, of the grid on which values are continued
_MARGIN = 3  # steps around a region that its continuation reads; the rest of the volume is left out
_PRECISION = 1e-3


def continued(values: NDArray[np.float32], region: NDArray[np.bool_], slope: float) -> NDArray[np.float32]:
    """Values with a region replaced by a spline in tension through what surrounds it.

    Its sum of squared second differences is least, and of first ones with a weight that makes slopes end in a constant
    (Smith & Wessel, Geophysics 1990).

    Args:
        values: `(C, X, Y, Z)`.
        region: `(X, Y, Z)`, not all True.
        slope: distance, voxels, over which slopes go on.
    """
    if not region.any():
        return values
    box = tuple(
        slice(max(0, part.start // _STEP - _MARGIN) * _STEP, (-(-part.stop // _STEP) + _MARGIN) * _STEP)
        for part in find_objects(region.view(np.uint8))[0]
    )
    result = values.copy()
    result[(slice(None), *box)] = _continued_in_box(values[(slice(None), *box)], region[box], slope)
    return result


def _continued_in_box(values: NDArray[np.float32], region: NDArray[np.bool_], slope: float) -> NDArray[np.float32]:
    rest = [part for size in reversed(region.shape) for part in (0, -size % _STEP)]
    weight = pad(torch.from_numpy((~region).astype(np.float32))[None], rest)
    shares = avg_pool3d(weight, _STEP)
    means = avg_pool3d(pad(torch.from_numpy(np.ascontiguousarray(values)), rest) * weight, _STEP)
    means = means / shares.clamp(min=1e-6)
    shape, known = means.shape[1:], (shares[0] > 0.5).numpy().ravel()
    coarse = means.flatten(1).double().numpy()
    laplacian = _laplacian(shape)
    energy = (laplacian @ laplacian - (_STEP / slope) ** 2 * laplacian).tocsr()[~known]
    inner, outer = energy[:, ~known].tocsr(), energy[:, known]
    scaling = sparse.diags(1 / inner.diagonal())
    for channel in coarse:
        channel[~known] = cg(inner, -outer @ channel[known], rtol=_PRECISION, maxiter=1000, M=scaling)[0]
    smooth = interpolate(
        torch.from_numpy(coarse.reshape(-1, *shape)).float()[None], scale_factor=_STEP, mode="trilinear"
    )
    x, y, z = region.shape
    return np.where(region, smooth[0, :, :x, :y, :z].numpy(), values)


def _laplacian(shape: tuple[int, ...]) -> sparse.csr_matrix:
    """Sum of the second differences along three axes; beyond the border the values go on."""
    total = sparse.csr_matrix((1, 1))
    for size in shape:
        middle = np.full(size, -2.0)
        middle[0] += 1
        middle[-1] += 1
        along = sparse.diags([np.ones(size - 1), middle, np.ones(size - 1)], [-1, 0, 1])
        total = sparse.kron(total, sparse.identity(size)) + sparse.kron(sparse.identity(total.shape[0]), along)
    return total.tocsr()
