# SPDX-License-Identifier: Apache-2.0
"""Registration by other tools, each with its authors' settings for brains where there are such.

Each function takes fixed and moving image, `(1, 2, D, H, W)` in [0, 1], affinely aligned on one grid, the affine matrix
of that grid, `(4, 4)`, voxels to RAS mm, and the number of CPU threads, None for what the tool takes by itself. It
starts from the identity and returns the displacement field `(1, 3, D, H, W)` float32, voxels.
"""

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.geometry import LPS, LPS_SIGNS, Field, from_displacement, voxel_sizes
from scripts.io import read_transform

Array = NDArray[np.floating]


class Peer(NamedTuple):
    """Another tool.

    Attributes:
        module: name of the module that is imported.
        package: name of the package that is installed.
        field: one of the functions of this file.
    """

    module: str
    package: str
    field: Callable[..., Tensor]

    def is_installed(self) -> bool:
        """Whether the module can be found."""
        return find_spec(self.module) is not None


def syn(image: Tensor, affine: Array, threads: int | None = None, **options: Any) -> Tensor:
    """ANTs' SyN (Avants et al., MedIA 2008).

    Args:
        image, affine, threads: see above; the threads of the first call are those of all.
        options: options of `ants.registration` with `SyNOnly`.
    """
    if threads is not None:
        os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)  # before ants is imported
    import ants

    lps, spacing = LPS @ affine, voxel_sizes(affine)
    fixed, moving = (
        ants.from_numpy(array, tuple(lps[:3, 3]), tuple(spacing), direction=lps[:3, :3] / spacing)
        for array in image[0].float().numpy()
    )
    with TemporaryDirectory() as folder:
        found = ants.registration(fixed, moving, "SyNOnly", outprefix=f"{folder}/", **options)
        # The other one of these files is the identity that it started from.
        warp = read_transform(next(path for path in found["fwdtransforms"] if path.endswith("Warp.nii.gz")))
    assert isinstance(warp, Field)
    return _in_voxels(warp.displacement, affine)


def greedy(image: Tensor, affine: Array, threads: int | None = None, metric: str = "NCC 2x2x2") -> Tensor:
    """greedy (Yushkevich et al., 2016), with its manual's radius of the cross-correlation.

    Args:
        image, affine, threads: see above.
        metric: its option `-m`.
    """
    from picsl_greedy import Greedy3D

    tool = Greedy3D()
    fixed, moving = _sitk_images(image, affine)
    command = f"-d 3 -i fixed moving -m {metric} -n 100x50x20 -o warp -V 0"
    tool.execute(command if threads is None else f"{command} -threads {threads}", fixed=fixed, moving=moving, warp=None)
    return _from_sitk(tool["warp"], affine)


def _sitk_images(image: Tensor, affine: Array) -> list[sitk.Image]:
    """Fixed and moving image for ITK, whose world coordinates are LPS."""
    lps, spacing = LPS @ affine, voxel_sizes(affine)
    images = [sitk.GetImageFromArray(array.transpose(2, 1, 0)) for array in image[0].float().numpy()]
    for each in images:
        each.SetOrigin(lps[:3, 3].tolist())
        each.SetSpacing(spacing.tolist())
        each.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return images


def _from_sitk(field: sitk.Image, affine: Array) -> Tensor:
    """The field of ITK, LPS mm."""
    displacement = sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3) * LPS_SIGNS
    return _in_voxels(displacement, affine)


def _in_voxels(displacement: Array, affine: Array) -> Tensor:
    """The field `(1, 3, D, H, W)`, voxels, of one in RAS mm, `(D, H, W, 3)`."""
    voxels = from_displacement(displacement, affine, np.eye(4), affine)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(voxels, -1, 0), dtype=np.float32))[None]


PEERS = {
    "syn": Peer("ants", "antspyx", syn),  # by mutual information
    # Cross-correlation with a radius of 2, as in ANTs' scripts.
    "syn_cc": Peer("ants", "antspyx", partial(syn, syn_metric="CC", syn_sampling=2, reg_iterations=(100, 50, 0))),
    "greedy": Peer("picsl_greedy", "picsl-greedy", greedy),
    "greedy_nmi": Peer("picsl_greedy", "picsl-greedy", partial(greedy, metric="NMI")),
}
