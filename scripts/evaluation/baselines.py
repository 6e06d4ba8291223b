# SPDX-License-Identifier: Apache-2.0
"""The methods of the comparison: each is a function from a pair of images to a displacement field."""

import copy
import os
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scripts.geometry import LPS, Field, from_displacement, voxel_sizes
from scripts.io import file_sha256, load_weights, read_transform, scan_name
from scripts.networks import PaddedInferer
from scripts.networks.voxelmorph import VoxelMorphBaseline
from scripts.registration import refine
from scripts.runtime import InputError

METHODS = ("affine", "syn", "syn_cc", "voxelmorph", "msfbnet", "refined")

# Options of antspyx's SyNOnly: mutual information by default, cross-correlation with a radius of 2 as in ANTs' scripts.
SYN: dict[str, dict[str, Any]] = {
    "syn": {},
    "syn_cc": {"syn_metric": "CC", "syn_sampling": 2, "reg_iterations": (100, 50, 0)},
}


class Method(NamedTuple):
    """A method that registers a pair.

    Attributes:
        kind: one of `METHODS`.
        name: name of its row in the tables: the kind, and what distinguishes several methods of one kind.
        weights: SHA-256 of its weights file; empty for a method without weights.
        network: definition of the network in the config, as JSON, since the same weights fit several networks.
        field: function of fixed and moving image, `(1, 2, D, H, W)` in [0, 1], and the affine matrix of their grid,
            `(4, 4)`, voxels to RAS mm. Returns the displacement field `(1, 3, D, H, W)`, voxels.
    """

    kind: str
    name: str
    weights: str
    network: str
    field: Callable[[Tensor, NDArray[np.floating]], Tensor]


def make_methods(
    kinds: Sequence[str],
    network: nn.Module,
    definition: str = "",
    weights: str | None = None,
    voxelmorph_weights: str | None = None,
    refine_steps: int = 50,
    threads: int | None = None,
    bf16: bool = False,
) -> list[Method]:
    """The methods of a comparison, in the order of the rows.

    Args:
        kinds: names of the methods, from `METHODS`.
        network: network that the weights are loaded into.
        definition: definition of the network in the config, as JSON.
        weights: weights file, or several with commas between, each with an optional name, `NAME=FILE`.
        voxelmorph_weights: weights file of VoxelMorph; None leaves this method out, with a note.
        refine_steps: number of steps of `refined`, from 0.
        threads: number of CPU threads of ANTs, from 1; None leaves it to ANTs.
        bf16: whether the network computes in bfloat16; VoxelMorph always computes in float32.

    Raises:
        InputError: if a method is unknown, weights are missing, do not fit or have the same name, or antspyx is needed
            and not installed.
    """
    unknown = [kind for kind in kinds if kind not in METHODS]
    if unknown:
        raise InputError(f"--methods {unknown[0]}: choose of {','.join(METHODS)}")
    trained = _trained(network, weights) if {"msfbnet", "refined"} & set(kinds) else []
    methods: list[Method] = []
    for kind in kinds:
        if kind == "affine":
            methods.append(Method(kind, kind, "", "", affine_only))
        elif kind in SYN:
            methods.append(Method(kind, kind, "", "", syn(import_ants(threads), **SYN[kind])))
        elif kind == "voxelmorph" and voxelmorph_weights is None:
            print("voxelmorph: left out, as there are no --voxelmorph_weights", flush=True)
        elif kind == "voxelmorph":
            baseline = load_weights(VoxelMorphBaseline(), str(voxelmorph_weights))
            methods.append(Method(kind, kind, file_sha256(str(voxelmorph_weights)), "", predicted(baseline)))
        elif kind == "msfbnet":
            methods += [
                Method(kind, f"msfbnet {name}", digest, definition, predicted(loaded, bf16))
                for name, digest, loaded in trained
            ]
        else:
            methods += [
                Method(
                    kind,
                    f"refined {name}, {refine_steps} steps",
                    digest,
                    definition,
                    refined(loaded, refine_steps, bf16),
                )
                for name, digest, loaded in trained
            ]
    return methods


def affine_only(image: Tensor, affine: NDArray[np.floating]) -> Tensor:
    """A field of zeros: the result of the affine alignment alone."""
    return torch.zeros_like(image[:, :1]).repeat(1, 3, 1, 1, 1)


def syn(ants: ModuleType, **options: Any) -> Callable[[Tensor, NDArray[np.floating]], Tensor]:
    """ANTs' SyN (Avants et al., MedIA 2008), started from the identity.

    Args:
        ants: the module `ants`.
        options: options of `ants.registration` with `SyNOnly`.
    """

    def register(image: Tensor, affine: NDArray[np.floating]) -> Tensor:
        fixed, moving = (_ants_image(ants, array, affine) for array in image[0].numpy())
        with TemporaryDirectory() as folder:
            found = ants.registration(fixed, moving, "SyNOnly", outprefix=f"{folder}/", **options)
            # The other one of these files is the identity that it started from.
            warp = next(path for path in found["fwdtransforms"] if path.endswith("Warp.nii.gz"))
            field = read_transform(warp)
        assert isinstance(field, Field)
        voxels = from_displacement(field.displacement, affine, np.eye(4), affine)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(voxels, -1, 0)))[None]

    return register


def predicted(network: nn.Module, bf16: bool = False) -> Callable[[Tensor, NDArray[np.floating]], Tensor]:
    """A network as a method's function, computed by `PaddedInferer`."""
    network.eval()
    infer = PaddedInferer(bf16)

    def register(image: Tensor, affine: NDArray[np.floating]) -> Tensor:
        with torch.no_grad():
            return infer(image, network)

    return register


def refined(network: nn.Module, steps: int, bf16: bool = False) -> Callable[[Tensor, NDArray[np.floating]], Tensor]:
    """A network as a method's function, with `steps` of refinement on the pair."""
    predict = predicted(network, bf16)
    return lambda image, affine: refine(image, predict(image, affine), steps).field


def import_ants(threads: int | None = None) -> ModuleType:
    """Import ANTs for Python.

    Args:
        threads: number of its CPU threads, from 1; only the first import sets it.

    Raises:
        InputError: if antspyx is not installed.
    """
    if threads is not None:
        os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    try:
        import ants
    except ImportError as error:
        raise InputError(
            "--methods syn: antspyx is not installed; python -m pip install '.[compare]', or choose other --methods"
        ) from error
    return ants


def _ants_image(ants: ModuleType, array: NDArray[np.float32], affine: NDArray[np.floating]) -> Any:
    """An ANTs image of an array; ANTs' world coordinates are LPS."""
    lps, spacing = LPS @ affine, voxel_sizes(affine)
    return ants.from_numpy(
        np.asarray(array, np.float32), tuple(lps[:3, 3]), tuple(spacing), direction=lps[:3, :3] / spacing
    )


def _trained(network: nn.Module, weights: str | None) -> list[tuple[str, str, nn.Module]]:
    """Name, SHA-256 and network of each weights file."""
    if weights is None:
        raise InputError("--methods msfbnet, refined: want --weights FILE, or NAME=FILE,NAME=FILE for several sets")
    trained = []
    for entry in weights.split(","):
        name, _, path = entry.rpartition("=")
        loaded = load_weights(copy.deepcopy(network), path)
        trained.append((name or scan_name(path), file_sha256(path), loaded))
    names = [name for name, _, _ in trained]
    if len(set(names)) < len(names):
        raise InputError(f"--weights {weights}: two sets of one name; name them NAME=FILE,NAME=FILE")
    return trained
