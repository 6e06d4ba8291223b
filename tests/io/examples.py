"""Fields and files that several tests of formats use."""

from pathlib import Path

import nibabel as nib
import numpy as np

from scripts.geometry import Field, Grid
from scripts.io.field_formats import FIELD_FORMATS

GRID = Grid((6, 7, 8), np.diag([-2.0, 3.0, 1.5, 1.0]))
NIFTI_FORMATS = [kind for kind in FIELD_FORMATS if kind != "h5"]


def file_name(kind: str) -> str:
    """Name of a field's file in a format."""
    return "warp.h5" if kind == "h5" else "warp.nii.gz"


def random_field() -> Field:
    """Some millimeters at each voxel of `GRID`."""
    rng = np.random.default_rng(0)
    return Field(rng.normal(scale=3, size=(*GRID.shape, 3)).astype(np.float32), GRID.affine)


def write_nifti(path: Path, array: np.ndarray, intent: int = 0, name: str = "") -> Path:
    """Write an array as a NIfTI with an intent, as other tools do."""
    image = nib.Nifti1Image(array, GRID.affine)
    image.header.set_intent(intent, name=name)
    image.to_filename(path)
    return path
