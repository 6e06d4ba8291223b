"""Small image files."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

LAS = np.array([[-1.0, 0, 0, 5], [0, 1.2, 0, -6], [0, 0, 1.5, 7], [0, 0, 0, 1]])


@pytest.fixture
def las() -> np.ndarray:
    """The affine that `save` writes: voxels of 1 x 1.2 x 1.5 mm."""
    return LAS.copy()


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Random float32 of a size, in [0, 1)."""
    return lambda *size: np.random.default_rng(0).random(size, dtype=np.float32)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write an array as `name`; header fields as keywords go to the file as they are, whatever nibabel thinks."""

    def write(name: str, array: np.ndarray, affine: np.ndarray = LAS, **fields: object) -> Path:
        path = tmp_path / name
        if name.endswith(".mgz"):
            nib.save(nib.MGHImage(array, affine), path)
            return path
        nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), path)
        if fields:
            assert path.suffix == ".nii"
            content = path.read_bytes()
            header = nib.Nifti1Header(content[:348], check=False)
            for field, value in fields.items():
                header[field] = value
            path.write_bytes(header.binaryblock + content[348:])
        return path

    return write
