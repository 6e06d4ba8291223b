# SPDX-License-Identifier: Apache-2.0
"""Brain masks: whether a given one can be that of its image, and how one is found where none is given."""

from importlib.metadata import PackageNotFoundError, version
from typing import Literal, get_args

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from scripts.datasets import lies_in_background
from scripts.geometry import Grid
from scripts.io import Scan
from scripts.runtime import InputError

# Where the brain is searched: in whole heads, in all scans, in none; never where there is a mask.
Strip = Literal["auto", "yes", "no"]

INSTALL = "pip install '.[strip]'"
_LEAST_BRAIN = 1.0  # ml; smaller masks are mistakes: a newborn's brain has 300, a slab of 5 mm 50


def check_mask(scan: Scan, mask: Scan) -> None:
    """Refuse a mask that is too small for a brain, or lies where its image shows nothing.

    Args:
        scan: the image.
        mask: its brain mask, on its grid.

    Raises:
        InputError: if it cannot be the mask of this image.
    """
    volume = _volume(mask.array, scan.grid)
    if volume < _LEAST_BRAIN:
        raise InputError(f"{mask.path}: the mask has only {volume:.2g} ml; give the mask of a brain")
    if lies_in_background(scan.array, mask.array):
        raise InputError(
            f"{mask.path}: the mask lies beside what {scan.path} shows, in its background; give the mask of this image"
        )


def read_strip(strip: str) -> Strip:
    """What the option `--strip` says.

    Raises:
        InputError: if it is not auto, yes or no, or yes without the package that finds brains.
    """
    for known in get_args(Strip):
        if strip == known:
            if known == "yes" and brain_finder() is None:
                raise InputError(f"--strip yes: needs deepbet, which is not installed: {INSTALL}")
            return known
    raise InputError(f"--strip {strip}: want {', '.join(get_args(Strip))}")


def described_strip(strip: str) -> dict[str, str | None]:
    """The option `--strip` for the settings: its word, and what finds the brain."""
    return {"option": strip, "finder": None if strip == "no" else brain_finder()}


def brain_finder() -> str | None:
    """Name and version of the package that finds brains; None where it is not installed."""
    try:
        return f"deepbet {version('deepbet')}"
    except PackageNotFoundError:
        return None


def find_brain(image: NDArray[np.float32], grid: Grid) -> NDArray[np.bool_] | None:
    """The brain in an image of a head, by deepbet (Fisch et al., Computers in Biology and Medicine 2024), on the CPU.

    Args:
        image: intensities, `(X, Y, Z)`.
        grid: their grid.

    Returns:
        `(X, Y, Z)`; None where none is found.
    """
    from deepbet.bet import BrainExtraction

    try:
        _, mask, _ = BrainExtraction(no_gpu=True).run(nib.Nifti1Image(image, grid.affine))
    except (AssertionError, ValueError):  # its way to say that nothing looks like a brain
        return None
    found = np.asarray(mask.dataobj) > 0
    return found if _volume(found, grid) >= _LEAST_BRAIN else None


def _volume(mask: NDArray, grid: Grid) -> float:
    """Milliliters."""
    return float(np.count_nonzero(mask) * grid.voxel_volume / 1000)
