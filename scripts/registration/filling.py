# SPDX-License-Identifier: Apache-2.0
"""A field for images whose content is unknown in places: the network sees there what agrees with the surroundings.

A network has to see something there. 0, or a lesion, is matched like anything else, and tissue is torn around it. So
the network is asked twice. First both images are continued smoothly into what is excluded, where nothing can be
matched, and beyond a cut each shows what the other one does. The field is continued into these places from around them.
Then each image shows there what the other one shows through that field: the same content at matching places.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label
from torch import Tensor

from scripts.geometry import faces
from scripts.registration.continuation import SLOPE_OF_FIELD, SLOPE_OF_IMAGE, continued
from scripts.registration.unknown import UNKNOWN
from scripts.spatial import warp

_RIM = 2  # voxels around a region in which the first field is not trusted either
_INVERSIONS = 8  # iterations, to a tenth of a voxel


def predict_around(
    image: NDArray[np.float32], unknown: NDArray[np.bool_], network: Callable[[NDArray[np.float32]], Tensor]
) -> tuple[NDArray[np.float32], Tensor]:
    """Predict a field that follows its surroundings where the content of an image is unknown.

    Args:
        image: fixed and moving image, `(2, X, Y, Z)`.
        unknown: where they are unknown, `(2, X, Y, Z)`; what reaches the border of the grid lies beyond a cut.
        network: from two such images to a field `(3, X, Y, Z)`, voxels.

    Returns:
        The images with what they are filled with, `(2, X, Y, Z)`, and the field.
    """
    beyond = np.stack([_at_border(region) for region in unknown])
    excluded = (unknown[0] | unknown[1]) & ~(beyond[0] | beyond[1])
    filled = _filled(continued(image, excluded, SLOPE_OF_IMAGE), beyond, torch.zeros(3, *image.shape[1:]))
    field = network(filled)
    if not excluded.any():
        return filled, field
    region = binary_dilation(unknown[0] | _pulled(unknown[1], field), iterations=_RIM)
    filled = _filled(image, unknown, torch.from_numpy(continued(field.numpy(), region, SLOPE_OF_FIELD)))
    return filled, network(filled)


def _at_border(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pieces of a region that reach the border of the grid."""
    pieces, _ = label(region)
    return region & np.isin(pieces, faces(pieces))


def _filled(image: NDArray[np.float32], unknown: NDArray[np.bool_], field: Tensor) -> NDArray[np.float32]:
    """Both images, each with what the other one shows through the field where it is unknown itself."""
    filled = image.copy()
    for role, to_other in enumerate((field, _inverse(field) if unknown[1].any() else field)):
        taken = unknown[role] & ~_pulled(unknown[1 - role], to_other)
        filled[role][taken] = _warped(image[1 - role], to_other)[taken]
    return filled


def _inverse(field: Tensor) -> Tensor:
    """`v` with `v(y) = -u(y + v(y))`, by iteration."""
    inverse = -field
    for _ in range(_INVERSIONS):
        inverse = -warp(field[None], inverse[None])[0]
    return inverse


def _pulled(region: NDArray[np.bool_], field: Tensor) -> NDArray[np.bool_]:
    return _warped(region.astype(np.float32), field) > UNKNOWN


def _warped(image: NDArray[np.float32], field: Tensor) -> NDArray[np.float32]:
    return warp(torch.from_numpy(np.ascontiguousarray(image))[None, None], field[None])[0, 0].numpy()
