# SPDX-License-Identifier: Apache-2.0
"""Registration by other tools, each with its authors' settings for brains where there are such.

Each function takes fixed and moving image, `(1, 2, D, H, W)` in [0, 1], affinely aligned on one grid, the affine matrix
of that grid, `(4, 4)`, voxels to RAS mm, and the number of CPU threads, None for what the tool takes by itself. It
starts from the identity and returns the displacement field `(1, 3, D, H, W)` float32, voxels.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pkgutil import resolve_name
from tempfile import TemporaryDirectory
from types import ModuleType
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
        module: name of the module that is imported, or of what is needed of it, as `pkgutil.resolve_name` takes it.
        field: one of the functions of this file.
        install: arguments of `pip install`.
    """

    module: str
    field: Callable[..., Tensor]
    install: str = "'.[compare]'"

    def load(self, threads: int | None = None) -> bool:
        """Import the module, whose time is not that of a registration; False where it is not installed."""
        if threads is not None:
            os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)  # ants reads it when it is imported
        try:
            with _quiet():
                resolve_name(self.module)
        except (ImportError, AttributeError):
            return False
        return True


def syn(image: Tensor, affine: Array, threads: int | None = None, **options: Any) -> Tensor:
    """ANTs' SyN (Avants et al., MedIA 2008).

    Args:
        image, affine, threads: see above; `Peer.load` sets the threads.
        options: options of `ants.registration` with `SyNOnly`.
    """
    import ants

    lps, spacing = LPS @ affine, voxel_sizes(affine)
    fixed, moving = (
        ants.from_numpy(array, tuple(lps[:3, 3]), tuple(spacing), direction=lps[:3, :3] / spacing)
        for array in image[0].float().numpy()
    )
    with TemporaryDirectory() as folder:
        found = ants.registration(fixed, moving, "SyNOnly", outprefix=f"{folder}/", **options)
        # The other one of these files is the identity that it started from.
        return _read_itk(next(path for path in found["fwdtransforms"] if path.endswith("Warp.nii.gz")), affine)


def greedy(image: Tensor, affine: Array, threads: int | None = None, metric: str = "NCC 2x2x2") -> Tensor:
    """greedy (Yushkevich et al., 2016), with 100, 50 and 20 iterations.

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


def dipy_syn(image: Tensor, affine: Array, threads: int | None = None) -> Tensor:
    """SyN of DIPY with cross-correlation, all settings the defaults of its classes; it computes in one thread."""
    fixed, moving = image[0].float().numpy()
    scale = np.diag([*voxel_sizes(affine), 1.0])  # along the axes of the array
    with _quiet():
        from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
        from dipy.align.metrics import CCMetric

        tool = SymmetricDiffeomorphicRegistration(CCMetric(3))
        found = tool.optimize(fixed, moving, static_grid2world=scale, moving_grid2world=scale)
    return _in_voxels(found.get_forward_field(), scale)


def demons(image: Tensor, affine: Array, threads: int | None = None) -> Tensor:
    """Diffeomorphic demons (Vercauteren et al., NeuroImage 2009) of SimpleITK at a quarter, half and full size.

    Iterations, smoothing and step are those of its authors' program `DemonsRegistration`, with its option to match the
    histograms. `start_registration` sets the threads of SimpleITK.
    """
    fixed, moving = _sitk_images(image, affine)
    moving = sitk.HistogramMatching(moving, fixed, 1024, 7, True)
    field: list[sitk.Image] = []
    for factor, iterations in ((4, 15), (2, 10), (1, 5)):
        small = [sitk.BinShrink(each, [factor] * 3) for each in (fixed, moving)]
        tool = sitk.DiffeomorphicDemonsRegistrationFilter()
        tool.SetNumberOfIterations(iterations)
        tool.SetMaximumUpdateStepLength(2.0)
        tool.SetSmoothDisplacementField(True)
        tool.SetStandardDeviations(1.5)
        field = [tool.Execute(*small, *(_resampled(each, small[0]) for each in field))]
    return _from_sitk(field[0], affine)


def elastix_bspline(image: Tensor, affine: Array, threads: int | None = None) -> Tensor:
    """B-splines of elastix (Klein et al., TMI 2010) by mutual information: its default parameters of `bspline`."""
    import itk

    if threads is not None:
        itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(threads)
    fixed, moving = (_itk_image(itk, each) for each in _sitk_images(image, affine))
    settings = itk.ParameterObject.New()
    settings.AddParameterMap(settings.GetDefaultParameterMap("bspline", 4))
    result = itk.elastix_registration_method(fixed, moving, parameter_object=settings, log_to_console=False)[1]
    with TemporaryDirectory() as folder:  # it writes a file
        field = itk.transformix_deformation_field(moving, result, output_directory=folder, log_to_console=False)
    return _in_voxels(itk.array_from_image(field).transpose(2, 1, 0, 3) * LPS_SIGNS, affine)


def convexadam(image: Tensor, affine: Array, threads: int | None = None) -> Tensor:
    """ConvexAdam (Siebert et al., TMI 2024) on MIND features, with its package's default settings."""
    fixed, moving = image[0].float()
    with _quiet():
        from convexAdam.convex_adam_MIND import convex_adam_pt

        found = convex_adam_pt(fixed, moving, dtype=torch.float32, device=torch.device("cpu"))
    return torch.from_numpy(np.moveaxis(found, -1, 0).astype(np.float32))[None]


def fireants(image: Tensor, affine: Array, threads: int | None = None) -> Tensor:
    """FireANTs (Jena et al., 2024), its greedy registration, as its authors' script for OASIS calls it."""
    with _quiet(), TemporaryDirectory() as folder:
        from fireants.io import BatchedImages, Image
        from fireants.registration.greedy import GreedyRegistration

        fixed, moving = (BatchedImages([Image(each, device="cpu")]) for each in _sitk_images(image, affine))
        tool = GreedyRegistration(
            [4, 2, 1],
            [100, 100, 20],
            fixed,
            moving,
            optimizer="adam",
            optimizer_lr=0.5,
            cc_kernel_size=7,
            smooth_grad_sigma=1,
            smooth_warp_sigma=0.5,
            progress_bar=False,
        )
        tool.optimize()
        tool.save_as_ants_transforms(f"{folder}/warp.nii.gz")
        return _read_itk(f"{folder}/warp.nii.gz", affine)


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and notes, which some tools switch on and off for good when they are imported."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _itk_image(itk: ModuleType, image: sitk.Image) -> Any:
    """An image of SimpleITK as one of ITK."""
    found = itk.image_from_array(sitk.GetArrayFromImage(image))
    found.SetOrigin(image.GetOrigin())
    found.SetSpacing(image.GetSpacing())
    found.SetDirection(itk.matrix_from_array(np.reshape(image.GetDirection(), (3, 3))))
    return found


def _sitk_images(image: Tensor, affine: Array) -> list[sitk.Image]:
    """Fixed and moving image for ITK, whose world coordinates are LPS."""
    lps, spacing = LPS @ affine, voxel_sizes(affine)
    images = [sitk.GetImageFromArray(array.transpose(2, 1, 0)) for array in image[0].float().numpy()]
    for each in images:
        each.SetOrigin(lps[:3, 3].tolist())
        each.SetSpacing(spacing.tolist())
        each.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return images


def _resampled(field: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """A field on another grid; beyond the centers of its outermost voxels it goes on as they are."""
    return sitk.Resample(field, grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkUnknown, True)


def _from_sitk(field: sitk.Image, affine: Array) -> Tensor:
    """The field of ITK, LPS mm."""
    displacement = sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3) * LPS_SIGNS
    return _in_voxels(displacement, affine)


def _read_itk(path: str, affine: Array) -> Tensor:
    """The field in a file of ITK."""
    warp = read_transform(path)
    assert isinstance(warp, Field)
    return _in_voxels(warp.displacement, affine)


def _in_voxels(displacement: Array, affine: Array) -> Tensor:
    """The field `(1, 3, D, H, W)`, voxels, of one in RAS mm, `(D, H, W, 3)`."""
    voxels = from_displacement(displacement, affine, np.eye(4), affine)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(voxels, -1, 0), dtype=np.float32))[None]


PEERS = {
    "syn": Peer("ants", syn),  # by mutual information
    # Cross-correlation with a radius of 2, as in ANTs' scripts.
    "syn_cc": Peer("ants", partial(syn, syn_metric="CC", syn_sampling=2, reg_iterations=(100, 50, 0))),
    "greedy": Peer("picsl_greedy", greedy),
    "greedy_nmi": Peer("picsl_greedy", partial(greedy, metric="NMI")),
    "dipy_syn": Peer("dipy.align.imwarp", dipy_syn),
    "elastix_bspline": Peer("itk:ElastixRegistrationMethod", elastix_bspline),
    "demons": Peer("SimpleITK", demons),
    "convexadam": Peer("convexAdam.convex_adam_MIND", convexadam),
    # It asks for an older SimpleITK than this project does, and runs with a newer one.
    "fireants": Peer("fireants.registration.greedy", fireants, "--no-deps fireants"),
}
