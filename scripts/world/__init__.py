"""Where voxels meet millimetres: orientation of arrays, fields in world coordinates, and NIfTI files.

World positions are RAS in mm, `x = affine @ i` for voxel `i`, as nibabel reads them. Arrays are NumPy, spatial axes
first; only the voxel field keeps the channel first, `(3, X, Y, Z)`, as the tensors of `scripts.spatial`.
"""

from scripts.world.alignment import align
from scripts.world.errors import InputError, find_input_error
from scripts.world.fields import jacobian_map
from scripts.world.files import Grid, check_gzip, existing_file, first_line, read_grid, save_image, save_itk_field
from scripts.world.formats import FIELD_FORMATS, read_transform, write_transform
from scripts.world.grids import network_grid
from scripts.world.itk import save_affine, save_composite
from scripts.world.points import Points, read_points, write_points
from scripts.world.resample import resample, value_outside
from scripts.world.transforms import Affine, Chain, Field, InverseField, Transform, as_field, fill_grid

__all__ = [
    "FIELD_FORMATS",
    "Affine",
    "Chain",
    "Field",
    "Grid",
    "InputError",
    "InverseField",
    "Points",
    "Transform",
    "align",
    "as_field",
    "check_gzip",
    "existing_file",
    "fill_grid",
    "find_input_error",
    "first_line",
    "jacobian_map",
    "network_grid",
    "read_grid",
    "read_points",
    "read_transform",
    "resample",
    "save_affine",
    "save_composite",
    "save_image",
    "save_itk_field",
    "value_outside",
    "write_points",
    "write_transform",
]
