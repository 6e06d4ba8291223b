# SPDX-License-Identifier: Apache-2.0
"""Ways to register a pair of scans as they lie in the world, affine stage included."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

from scripts.datasets import scale_intensity
from scripts.evaluation.baselines import Method, import_ants, make_methods
from scripts.geometry import LPS, Chain, Transform, voxel_sizes
from scripts.io import load_weights, read_configs, read_transform
from scripts.networks import MSFBNet, PaddedInferer
from scripts.registration import (
    Job,
    PredictedPair,
    align_pair,
    compare_contrasts,
    fuse,
    measure,
    predict,
    read_init,
    read_pair,
    refine_pair,
    reject_worse,
    to_network_grid,
)
from scripts.runtime import InputError, supports_bf16

CONFIG = "configs/inference.json"
REFINE = 30
# Start and steps of refinement of each of ours.
OURS = {"msfbnet": ("affine", 0), "refined": ("affine", REFINE), "msfbnet_no_affine": ("none", 0)}

Found = tuple[Transform, dict[str, float]]


class Approach(NamedTuple):
    """A way to register a pair.

    Attributes:
        method: the key of its rows.
        register: function of a pair that returns the transform, points of the fixed to points of the moving scan, RAS
            mm, and figures of its own.
    """

    method: Method
    register: Callable[[Job], Found]

    @property
    def name(self) -> str:
        """Name of its rows."""
        return self.method.name


def make_approaches(names: Sequence[str], weights: str, threads: int | None) -> Iterator[Approach]:
    """The approaches of a study.

    Args:
        names: names of `OURS`, or `syn`.
        weights: weights file of the network.
        threads: number of CPU threads of ANTs, from 1; None leaves it to ANTs.

    Raises:
        InputError: if a name is unknown, the weights are missing or do not fit, or antspyx is needed and not installed.
    """
    config, bf16 = read_configs(CONFIG), supports_bf16("cpu")
    definition = json.dumps({**config["network_def"], "bf16": bf16})
    network: MSFBNet = config.get_parsed_content("network_def")
    load_weights(network, weights)
    network.eval()
    spacing, least_size = config["network_spacing"], config["network_size"]

    @lru_cache(maxsize=1)  # with and without refinement the field is the same
    def predicted(job: Job, init: str) -> PredictedPair:
        aligned = align_pair(read_pair(job), read_init(init), seed=0)
        prepared = compare_contrasts(to_network_grid(aligned, network.multiple, spacing, least_size))
        return predict(prepared, network, PaddedInferer(bf16), torch.device("cpu"))

    def ours(init: str, steps: int) -> Callable[[Job], Found]:
        def register(job: Job) -> Found:
            found = measure(reject_worse(fuse(refine_pair(predicted(job, init), steps, "cpu"))), {})
            return found.transform, {"content": float(found.metrics["verdict"] != "fail")}

        return register

    for name in names:
        if name in OURS:
            (method,) = make_methods(["msfbnet"], network, definition, weights)
            yield Approach(method._replace(name=name), ours(*OURS[name]))
        elif name == "syn":
            (method,) = make_methods(["syn"], network, threads=threads)
            yield Approach(method, _syn(threads))
        else:
            raise InputError(f"--methods {name}: choose of {','.join((*OURS, 'syn'))}")


def _syn(threads: int | None) -> Callable[[Job], Found]:
    """ANTs' SyN after its own affine stage."""
    ants = import_ants(threads)

    def image(scan: Any) -> Any:
        lps, spacing = LPS @ scan.affine, voxel_sizes(scan.affine)
        array = scale_intensity(np.asarray(scan.dataobj, np.float32))
        return ants.from_numpy(array, tuple(lps[:3, 3]), tuple(spacing), direction=lps[:3, :3] / spacing)

    def register(job: Job) -> Found:
        fixed, moving = image(job.fixed.image), image(job.moving.image)
        with TemporaryDirectory() as folder:
            try:
                found = ants.registration(fixed, moving, "SyN", outprefix=f"{folder}/", random_seed=1)
            except RuntimeError as error:  # such as of images that do not overlap
                raise InputError(f"ANTs: {str(error).splitlines()[0]}") from error
            # As for antsApplyTransforms: the first one is applied first to the points of the fixed scan.
            return Chain([read_transform(path) for path in found["fwdtransforms"][::-1]]), {}

    return register
