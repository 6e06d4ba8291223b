"""Where voxels meet millimetres: orientation of arrays, fields in world coordinates, and NIfTI files.

World positions are RAS in mm, `x = affine @ i` for voxel `i`, as nibabel reads them. Arrays are NumPy, spatial axes
first; only the voxel field keeps the channel first, `(3, X, Y, Z)`, as the tensors of `scripts.spatial`.
"""

from scripts.world.errors import InputError, find_input_error
from scripts.world.fields import displacement_ras, voxel_field
from scripts.world.files import load_itk_field, save_image, save_itk_field
from scripts.world.orientation import reorient_from_ras, reorient_to_ras
from scripts.world.resample import resample
from scripts.world.transforms import Affine, Chain, Field, InverseField, Transform, as_field, grid_points

__all__ = [
    "Affine",
    "Chain",
    "Field",
    "InputError",
    "InverseField",
    "Transform",
    "as_field",
    "displacement_ras",
    "find_input_error",
    "grid_points",
    "load_itk_field",
    "reorient_from_ras",
    "reorient_to_ras",
    "resample",
    "save_image",
    "save_itk_field",
    "voxel_field",
]
