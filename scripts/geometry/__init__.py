# SPDX-License-Identifier: Apache-2.0
"""The world in millimeters: grids, transforms, resampling, affine alignment. Knows no files.

World positions are RAS in mm, `x = affine @ i` for voxel `i`. Arrays are NumPy, spatial axes first; only the voxel
field keeps the channel first, `(3, X, Y, Z)`, as the tensors of `scripts.spatial`.
"""

from scripts.geometry.alignment import align, has_one_scale
from scripts.geometry.displacement import from_displacement, jacobian_map, to_displacement
from scripts.geometry.grid import (
    LPS,
    LPS_SIGNS,
    Grid,
    faces,
    is_sheared,
    largest_cosine,
    largest_distance,
    same_grid,
    voxel_sizes,
)
from scripts.geometry.network_grid import network_grid, world_box
from scripts.geometry.resample import resample, value_outside
from scripts.geometry.transforms import Affine, Chain, Field, Transform, as_field

__all__ = [
    "LPS",
    "LPS_SIGNS",
    "Affine",
    "Chain",
    "Field",
    "Grid",
    "Transform",
    "align",
    "as_field",
    "faces",
    "from_displacement",
    "has_one_scale",
    "is_sheared",
    "jacobian_map",
    "largest_cosine",
    "largest_distance",
    "network_grid",
    "resample",
    "same_grid",
    "to_displacement",
    "value_outside",
    "voxel_sizes",
    "world_box",
]
